"""The options of `hangtag export`: the values and combinations that it refuses, and what it decides before training."""

from __future__ import annotations

import os

import pytest

from hangtag.cli.main import main
from hangtag_export import pipeline
from hangtag_export.errors import DataError


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--epochs=0", "'0' is not a whole number, 1 or more"),
        ("--epochs=ten", "'ten' is not a whole number, 1 or more"),
        ("--learning-rate=0", "'0' is not a number more than 0"),
        ("--validation-split=1", "'1' is not a number from 0 to less than 1"),
        ("--seed=-1", "'-1' is not a whole number from 0"),
        ("--min-accuracy=88", "'88' is not a number from 0 to 1"),
        ("--target-accuracy=90", "'90' is not a number from 0 to 1"),
        ("--stop-at-loss=nan", "'nan' is not a number more than 0"),
        ("--image-size=0x3", "'0' is not a whole number, 1 or more"),
        ("--keras=model.pb", "model.pb must end in .keras or .h5"),
        ("--model-name=", "'' is not a model name"),
        ("--base-path=", "'' is not a path: it is empty"),
        ("--model-name=a/b", "'a/b' is not a model name"),
    ],
)
def test_options_that_make_no_sense_are_bad_usage(flag, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", flag])
    assert ended.value.code == 2
    assert f"argument {flag.split('=')[0]}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("architecture", "before", "after"), [("cnn", None, "1"), ("cnn", "0", "0"), ("dense", None, None)]
)
def test_convolutions_are_computed_by_onednn(architecture, before, after, monkeypatch, tmp_path):
    """Which is chosen before anything loads TensorFlow, even to read the data."""
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", before or "")
    if before is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    chosen = []

    def load(*_: object) -> None:
        chosen.append(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
        raise DataError("no data")

    monkeypatch.setattr(pipeline, "_load", load)
    assert main(["export", f"--architecture={architecture}", f"--base-path={tmp_path / 'fashion'}"]) == 2
    assert chosen == [after]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--image-size=32"],
            "--image-size is for a folder of images (--dataset DIR): Fashion-MNIST is 28x28 and grey",
        ),
        (["--color"], "--color is for a folder of images"),
        (["--no-color"], "--no-color is for a folder of images"),
        (["--skip-bad"], "--skip-bad is for a folder of images"),
        (["--resume=model.pb"], "--resume model.pb: the file must end in .keras or .h5"),
        (["--dataset=pictures", "--data-dir=data"], "--data-dir is for Fashion-MNIST"),
        (["--config=models.config"], "--config is for --keep N"),
    ],
)
def test_options_that_would_have_no_effect_or_an_unintended_one_are_refused_at_once(flags, message, tmp_path, capsys):
    assert main(["export", f"--base-path={tmp_path / 'fashion'}", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line
    assert not (tmp_path / "fashion").exists()
