"""Every code block of docs/how-to/own-model.md runs, in order, and both web applications answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import walkthrough
from walkthrough import Walkthrough

pytestmark = pytest.mark.timeout(900)  # the whole page runs before the first test


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Iterator[Walkthrough]:
    """The whole page; its servers run until the tests have ended."""
    with walkthrough.walked("own-model.md", tmp_path_factory.mktemp("own-model"), "colours") as done:
        yield done


def test_every_block_runs(walked):
    assert sorted(path.name for path in (walked.folder / "models" / "colours").iterdir()) == ["1", "2"]
    _, published, from_python, classified, *answers = walked.outputs
    assert "published models/colours/1" in published
    assert "version 2 in models/colours/2" in from_python
    assert "red" in classified
    assert [json.loads(answer)["label"] for answer in answers] == ["red", "red"]


@pytest.mark.parametrize("port", ["5000", "8000"], ids=["flask", "fastapi"])
def test_an_application_says_what_is_wrong_with_a_file(walked, port):
    status, answer = walked.post(port, (walked.folder / "red.png").read_bytes())
    assert (status, answer["label"]) == (200, "red")
    status, answer = walked.post(port, b"not an image")
    assert status == 400
    assert set(answer) <= {"error", "detail"}
