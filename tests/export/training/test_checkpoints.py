"""No epoch is lost: an interrupted training is continued, and ends as if it had not been interrupted."""

from __future__ import annotations

import csv
import json
import signal
import subprocess

import numpy as np
import pytest

from hangtag.errors import InvalidInput
from hangtag.optional import require
from hangtag_export.errors import DataError
from hangtag_export.training import checkpoints
from hangtag_export.training.train import train
from shortened import shortened
from support import PATIENCE, run

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def few(dataset):
    return shortened(dataset, train=400, test=100)


def interrupt_after(epochs: int):
    """A callback that does what Ctrl-C does, in the middle of the epoch after `epochs`."""
    keras = require("keras", extra="export", what="the test")

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.epochs_done == epochs:
                raise KeyboardInterrupt

        epochs_done = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs_done = epoch + 1

    return Interrupt()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("dense", {"validation_split": 0.2, "learning_rate": 0.02}),  # too high: the best epoch is not the last
        ("cnn", {"validation_split": 0}),  # with augmentation, dropout, and a rate that depends on the step
    ],
    ids=["dense", "cnn"],
)
def test_a_continued_training_ends_as_if_it_had_not_been_interrupted(few, architecture, options, tmp_path):
    options |= {"epochs": 4, "batch_size": 32, "log": tmp_path / "training.csv"}
    if architecture == "cnn":
        few = shortened(few, train=64)
    whole = train(few, architecture, **options)
    rows = (tmp_path / "training.csv").read_text()
    (tmp_path / "training.csv").unlink()
    lines = []
    with pytest.raises(KeyboardInterrupt):
        train(few, architecture, base_path=tmp_path, callbacks=[interrupt_after(2)], say=lines.append, **options)
    assert lines[-1] == "interrupted: run the same command with --resume to continue after the last epoch"
    assert len(list(tmp_path.glob("checkpoints/*/epoch-*"))) == 1
    continued = train(few, architecture, base_path=tmp_path, continue_interrupted=True, say=lines.append, **options)
    assert "continuing after epoch 2" in lines
    for a, b in zip(continued.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert continued.history.keys() == whole.history.keys()
    for name, values in whole.history.items():
        assert continued.history[name] == values
    again = list(csv.reader((tmp_path / "training.csv").read_text().splitlines()))
    assert [row[0] for row in again] == [row[0] for row in csv.reader(rows.splitlines())]
    continued.run.remove()
    assert not (tmp_path / "checkpoints").exists()


def test_a_training_that_ended_before_it_was_published_is_not_repeated(few, tmp_path):
    first = train(few, epochs=2, base_path=tmp_path)
    assert first.run.has_epochs()
    keras = require("keras", extra="export", what="the test")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    again = train(few, epochs=2, base_path=tmp_path, continue_interrupted=True, callbacks=[count])
    assert steps == []
    assert again.history == first.history
    assert again.evaluation.accuracy == first.evaluation.accuracy


def test_what_cannot_be_continued_is_one_sentence(few, tmp_path):
    with pytest.raises(InvalidInput, match=r"there is no interrupted training in .*: leave out --resume"):
        train(few, base_path=tmp_path, continue_interrupted=True)
    train(few, epochs=1, base_path=tmp_path)
    with pytest.raises(InvalidInput, match="has seed 42, not 7: give the same options as before"):
        train(few, epochs=1, seed=7, base_path=tmp_path, continue_interrupted=True)
    (state,) = tmp_path.glob("checkpoints/*/epoch-0001/state.json")
    state.write_text("{")
    with pytest.raises(DataError, match=r"cannot be read: .*; remove it"):
        train(few, epochs=1, base_path=tmp_path, continue_interrupted=True)


def test_a_training_that_still_runs_is_not_continued_by_another(few, tmp_path):
    run_ = checkpoints.begin(tmp_path, {"seed": 1})
    (run_.folder / "epoch-0001").mkdir()
    with pytest.raises(InvalidInput, match="there is no interrupted training"):
        checkpoints.unfinished(tmp_path, {"seed": 1})
    run_.close()
    assert checkpoints.unfinished(tmp_path, {"seed": 1}).folder == run_.folder


def test_old_unfinished_trainings_do_not_pile_up(tmp_path):
    for seed in range(6):
        checkpoints.begin(tmp_path, {"seed": seed}).close()
    assert [json.loads(file.read_text())["seed"] for file in sorted(tmp_path.glob("checkpoints/*/run.json"))] == [
        2,
        3,
        4,
        5,
    ]


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(few, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.Path, "rename", full)
    lines = []
    training = train(few, epochs=2, base_path=tmp_path, say=lines.append)
    assert len(training.history["loss"]) == 2
    assert sum("No space left on device; the training continues" in line for line in lines) == 2


def test_ctrl_c_and_resume_on_the_command_line(dataset, tmp_path):
    """A killed program's checkpoint is used as well; the finished one leaves nothing but the version."""
    base_path, plots = tmp_path / "fashion", tmp_path / "plots"
    options = ["--epochs=3", "--hidden=8", f"--base-path={base_path}", f"--plots={plots}"]
    with subprocess.Popen(["hangtag", "export", *options], stdout=subprocess.PIPE, text=True) as export:
        for line in export.stdout:
            if line.startswith("epoch 2"):
                break
        export.send_signal(signal.SIGKILL)
        export.communicate(timeout=PATIENCE)
    done = run("export", *options, "--resume")
    assert done.returncode == 0, done.stderr
    assert "continuing after epoch" in done.stdout
    assert sorted(path.name for path in base_path.iterdir()) == ["1"]
    with (plots / "training.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
