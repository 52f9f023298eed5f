"""How TensorFlow is set up for the models that are there when the server starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hangtag_serving.fast.tensorflow_tuning import for_small_models
from hangtag_serving.models.saved_model import LoadOptions

FASHION = Path(__file__).parents[1] / "conformance" / "models" / "fashion"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    """The environment does not set it, and a test's changes are undone."""
    monkeypatch.setenv(ONEDNN, "")
    monkeypatch.delenv(ONEDNN)


def test_small_models_are_computed_by_one_thread_and_eigen():
    assert for_small_models(LoadOptions(), [FASHION]).intra_op_threads == 1
    assert os.environ[ONEDNN] == "0"


def test_flags_and_environment_are_kept(monkeypatch):
    monkeypatch.setenv(ONEDNN, "1")
    assert for_small_models(LoadOptions(intra_op_threads=3), [FASHION]).intra_op_threads == 3
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
    assert for_small_models(LoadOptions(), [tmp_path / "fashion"]) == LoadOptions()
    assert ONEDNN not in os.environ


def test_tensorflow_decides_where_nothing_is_there_yet(tmp_path):
    assert for_small_models(LoadOptions(), [tmp_path / "away"]) == LoadOptions()
    assert for_small_models(LoadOptions(), [FASHION, tmp_path / "away"]) == LoadOptions()
