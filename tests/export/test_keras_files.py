"""Ctrl-C while Keras reads or writes a file."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export import pipeline
from hangtag_export.existing_model import loading
from hangtag_export.keras_files import uninterrupted
from hangtag_export.publishing import gates
from hangtag_export.training import checkpoints, transfer
from hangtag_export.training.callbacks import Best
from hangtag_export.training.checkpoints import State

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def model():
    keras = require("keras", extra="export", what="the test")
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


@pytest.fixture
def ctrl_c_in_keras(monkeypatch):
    """Ctrl-C arrives where Keras opens the weights of a file. Its `except:` takes a KeyboardInterrupt there."""
    library = import_module("keras.src.saving.saving_lib")
    monkeypatch.setattr(library, "is_memory_sufficient", lambda _: signal.raise_signal(signal.SIGINT) is None)


def test_a_checkpoint_that_ctrl_c_meets_is_complete(model, tmp_path, ctrl_c_in_keras, monkeypatch):
    run = checkpoints.begin(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        run.save(State(model, 1, {"loss": [0.5]}, Best()))
    with pytest.raises(KeyboardInterrupt):
        run.load()
    monkeypatch.undo()
    assert run.load().history == {"loss": [0.5]}


@pytest.mark.parametrize(
    "use",
    [
        lambda model, file: checkpoints.from_file(file, "dense", (2,), 1),
        lambda model, file: loading.load(file),
        lambda model, file: gates.keep_aside(model, file.parent),
        lambda model, file: pipeline._save_keras(model, np.zeros((1, 2), np.uint8), file),
        lambda model, file: transfer.build("mobilenet-v3-small", (32, 32, 3), 1, str(file)),
    ],
    ids=["resume", "publish", "keep aside", "save", "pretrained weights"],
)
def test_ctrl_c_in_a_file_is_not_lost(use, model, tmp_path, request):
    file = tmp_path / "model.keras"
    model.save(file)
    request.getfixturevalue("ctrl_c_in_keras")
    with pytest.raises(KeyboardInterrupt):
        use(model, file)


def test_a_second_ctrl_c_does_not_wait():
    done = []

    @uninterrupted()
    def work():
        for each in ("first", "second"):
            signal.raise_signal(signal.SIGINT)
            done.append(each)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_handlers_and_threads_are_left_alone(monkeypatch):
    with ThreadPoolExecutor(1) as pool, uninterrupted():
        inside = signal.getsignal(signal.SIGINT)
        pool.submit(lambda: uninterrupted().__enter__()).result()
        assert signal.getsignal(signal.SIGINT) is inside
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
