"""How TensorFlow is set up for the models that are there when the server starts."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import pytest

from hangtag_serving.fast.tensorflow_tuning import for_small_models
from hangtag_serving.flags import add_flags
from hangtag_serving.options import ServerOptions, from_flags

FASHION = Path(__file__).parents[1] / "conformance" / "models" / "fashion"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    """The environment does not set it, and a test's changes are undone."""
    monkeypatch.setenv(ONEDNN, "")
    monkeypatch.delenv(ONEDNN)


def options(base_path: Path, *flags: str) -> ServerOptions:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args([f"--model_base_path={base_path}", *flags]))


def test_small_models_are_computed_by_one_thread_and_eigen():
    assert for_small_models(options(FASHION)).load.intra_op_threads == 1
    assert os.environ[ONEDNN] == "0"


def test_flags_and_environment_are_kept(monkeypatch):
    monkeypatch.setenv(ONEDNN, "1")
    chosen = for_small_models(options(FASHION, "--tensorflow_intra_op_parallelism=3"))
    assert chosen.load.intra_op_threads == 3
    assert os.environ[ONEDNN] == "1"


def large(folder: Path) -> None:
    """Seventeen MiB, of which nothing is on the disk."""
    with (folder / "assets.bin").open("wb") as file:
        file.truncate(17 << 20)


def convolving(folder: Path) -> None:
    """A graph that names a convolution, as all that have one do."""
    with (folder / "saved_model.pb").open("ab") as file:
        file.write(b"Conv2D")


@pytest.mark.parametrize("change", [large, convolving, shutil.rmtree])
def test_tensorflow_decides_for_all_others(tmp_path, change):
    shutil.copytree(FASHION, tmp_path / "fashion")
    for version in (tmp_path / "fashion").iterdir():
        change(version)
    before = options(tmp_path / "fashion")
    assert for_small_models(before) == before
    assert ONEDNN not in os.environ


def test_tensorflow_decides_where_nothing_is_there_yet(tmp_path):
    before = options(tmp_path / "away")
    assert for_small_models(before) == before
