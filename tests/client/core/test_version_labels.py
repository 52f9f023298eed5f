"""A version by its label, on the real server, while the label moves to another version."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from both_clients import opened
from hangtag import InvalidInput, ModelNotFound
from support import Server, eventually, serving

CONFIG = """
model_config_list {{ config {{
  name: "fashion" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ all {{}} }}
  version_labels {{ key: "stable" value: {stable} }}
  version_labels {{ key: "canary" value: 2 }}
}} }}
"""


@pytest.fixture(scope="module")
def labelled(
    exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Callable[[int], object]]]:
    """A server of versions 1 and 2, and a function that moves the label `stable`."""
    folder = tmp_path_factory.mktemp("labelled")
    for version in ("1", "2"):
        shutil.copytree(exported / "1", folder / "fashion" / version)
    file = folder / "models.config"

    def move(stable: int) -> None:
        new = folder / "new.config"
        new.write_text(CONFIG.format(base=folder / "fashion", stable=stable))
        new.replace(file)  # at once: the server may read at any moment

    move(1)
    flags = (f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=0.1")
    flags += ("--allow_version_labels_for_unavailable_models=true",)
    with serving(folder / "fashion", folder / "log", *flags, versions=2) as server:
        yield server, move


def test_every_call_goes_to_the_version_with_the_label(labelled, images, kind, protocol):
    server, move = labelled
    move(1)
    for label, version in (("stable", 1), ("canary", 2)):
        with opened(kind, server.target(protocol), version_label=label, timeout=60, batch_size=40) as client:
            eventually(lambda: client.metadata().version == version, f"{label} to be version {version}")  # noqa: B023
            assert client.wait_ready().version == version
            result = client.classify(images[:100])
            assert result.model_version == version
            assert result.labels[0] == "Ankle boot"
            assert [len(part) for part in client.classify_stream(np.split(images[:90], 3))] == [30] * 3
            assert client.predict({"images": images[:2]})["probabilities"].shape == (2, 10)
            assert client.labels()[9] == "Ankle boot"


def test_a_label_that_moves_takes_an_open_client_along(labelled, images, kind, protocol):
    server, move = labelled
    move(1)
    with opened(kind, server.target(protocol), version_label="stable", timeout=60) as client:
        eventually(lambda: client.metadata().version == 1, "stable to be version 1")
        client.classify(images[:3])
        move(2)
        eventually(lambda: client.classify(images[:3]).model_version == 2, "answers of version 2")
        eventually(lambda: client.metadata().version == 2, "stable to be version 2")
        assert len(client.classify(images[:3])) == 3


def test_an_unknown_label_is_a_model_not_found(labelled, images, kind, protocol):
    server, _ = labelled
    with opened(kind, server.target(protocol), version_label="golden", timeout=60) as client:
        for call in (client.metadata, client.labels, lambda: client.classify(images[:3])):
            with pytest.raises(ModelNotFound, match="golden"):
                call()
        assert not client.ready()
    with pytest.raises(InvalidInput, match="version or version_label"):
        opened(kind, server.target(protocol), version_label="stable", version=1).__enter__()
