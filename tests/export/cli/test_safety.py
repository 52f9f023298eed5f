"""`hangtag export` does not replace a model by mistake, and loses no training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hangtag.cli.main import main
from hangtag.optional import require
from hangtag_export.errors import ExportError
from hangtag_export.savedmodel.verification import Verifier

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two classes, dark and light, of 60 images each."""
    folder = tmp_path_factory.mktemp("data") / "goods"
    chance = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = np.clip(chance.normal(60 + 120 * label, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def quick(pictures, monkeypatch, tmp_path):
    """Export `pictures` with these further arguments, without the check in a fresh process; the exit code."""
    monkeypatch.setattr(Verifier, "verify", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)

    def export(*flags: str, folder: Path = pictures) -> int:
        dense = ["--architecture=dense", "--hidden=8", "--image-size=12", "--batch-size=16"]
        return main(["export", f"--dataset={folder}", *dense, *flags])

    return export


def test_the_model_of_a_folder_is_named_after_it(quick, tmp_path):
    assert quick("--epochs=20", "--learning-rate=0.01") == 0
    assert (tmp_path / "models" / "goods" / "1" / "saved_model.pb").exists()
    assert quick("--epochs=20", "--learning-rate=0.01") == 0
    assert sorted(path.name for path in (tmp_path / "models" / "goods").iterdir()) == ["1", "2"]


def test_other_classes_are_not_published_over_a_model(quick, pictures, tmp_path, capsys):
    """Before anything is trained."""
    assert quick("--epochs=20", "--learning-rate=0.01") == 0
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    (other / "light").rename(other / "bright")
    capsys.readouterr()
    base_path = "--base-path=models/goods"
    assert quick("--epochs=1", base_path, folder=other) == 1
    out, err = capsys.readouterr()
    assert "epoch" not in out
    assert err.endswith(
        "version 1 in models/goods has other classes: publish to another base path, or with --replace\n"
    )
    assert quick("--epochs=20", "--learning-rate=0.01", base_path, "--replace", folder=other) == 0


def test_a_version_from_another_source_is_not_compared_with(quick, tmp_path, capsys):
    keras = require("keras", extra="export", what="the test")
    layers = [keras.Input((12, 12)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    keras.Sequential(layers).export(tmp_path / "models" / "goods" / "1", verbose=False)
    for flags, message in (
        (("--no-worse-than-current",), "was not published by Hangtag, so its clients may send other images"),
        (("--no-worse-than-current", "--replace"), "was not published by Hangtag, so the new one cannot be compared"),
    ):
        capsys.readouterr()
        assert quick("--epochs=1", *flags) == 1
        out, err = capsys.readouterr()
        assert "epoch" not in out
        assert message in err
        assert len(err.splitlines()) == 1


def test_a_model_that_has_learned_nothing_is_not_published(quick, tmp_path, capsys):
    """It is kept, and --force publishes one like it."""
    assert quick("--epochs=1", "--learning-rate=1e-9") == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = (tmp_path / "models" / "goods" / "rejected").iterdir()
    assert "learned nothing" in line or "no better than chance" in line
    assert line.endswith(f"the model was saved to {kept.relative_to(tmp_path)}")
    assert quick("--epochs=1", "--learning-rate=1e-9", "--force") == 0


def test_a_trained_model_that_cannot_be_published_is_kept(quick, tmp_path, monkeypatch, capsys):
    """Any failure after the training."""

    def fail(*_: object, **__: object) -> None:
        raise ExportError("the written version does not load")

    monkeypatch.setattr(Verifier, "verify", fail)
    assert quick("--epochs=20", "--learning-rate=0.01") == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = (tmp_path / "models" / "goods" / "rejected").iterdir()
    assert line.endswith(f"does not load: nothing was published, the model was saved to {kept.relative_to(tmp_path)}")
    keras = require("keras", extra="export", what="the test")
    assert keras.models.load_model(kept).output_shape == (None, 2)


@pytest.mark.parametrize("url", ["s3://bucket/models/goods", "gs://bucket/goods", "hdfs://host/goods"])
def test_a_bucket_is_refused_before_the_training(quick, tmp_path, url, capsys):
    assert quick("--epochs=1", f"--base-path={url}") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "is not a local folder" in err
    assert list(tmp_path.iterdir()) == []
