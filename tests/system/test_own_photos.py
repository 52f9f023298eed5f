"""Every code block of docs/how-to/own-photos.md runs, in order, and both web applications answer."""

from __future__ import annotations

import json

import pytest

import walkthrough


@pytest.mark.timeout(900)
def test_every_block_runs(tmp_path):
    with walkthrough.walked("own-photos.md", tmp_path, "photos") as walked:
        _, published, classified, *answers = walked.outputs
        assert "published models/photos/1" in published
        assert "plum" in classified
        assert [json.loads(answer)["label"] for answer in answers] == ["plum", "plum"]
        for port in ("5000", "8000"):
            assert walked.post(port, b"not an image")[0] == 400
