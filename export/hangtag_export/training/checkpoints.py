"""What a training continues from: its checkpoint after Ctrl-C or a crash, or a Keras model from a file.

A training is saved after each epoch:

    BASE_PATH/checkpoints/RUN/run.json                what is being trained
    BASE_PATH/checkpoints/RUN/epoch-0007/             model.keras with its optimizer, state.json, best.npz

The folder of an epoch is written under another name and then renamed, so it is complete or absent. The training process
locks the folder of its run; the kernel releases the lock when the process ends. The folder of a finished run is
removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..errors import DataError, ExportError
from ..keras_files import keras_version, lower_case, reason, uninterrupted
from .architectures import NAMES
from .callbacks import Best

FOLDER = "checkpoints"
_NUMBERS = ("epoch", "history", "phase", "first_epoch")
_UNFINISHED = 3  # unfinished runs that stay in a base path


@dataclass(frozen=True)
class State:
    """The state of a training after `epoch` epochs; `history` has the figures of each epoch."""

    model: Any
    epoch: int
    history: dict[str, list[float]]
    best: Best
    phase: int = 0
    first_epoch: int = 0  # epochs before this training, if it was resumed from a file


class Run:
    """The checkpoints of one training."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    @uninterrupted()
    def save(self, state: State) -> None:
        """Replace the saved state by this one. Raises ExportError."""
        final = self.folder / f"epoch-{state.epoch:04}"
        partial = self.folder / ".partial"
        before = _epochs(self.folder)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            state.model.save(partial / "model.keras")
            best = {"accuracy": state.best.accuracy, "loss": state.best.loss, "epoch": state.best.epoch}
            if state.best.weights is not None:
                earlier = before[-1] / "best.npz" if before else None
                if earlier is not None and earlier.exists() and state.best.epoch < state.epoch:
                    os.link(earlier, partial / "best.npz")
                else:
                    np.savez(partial / "best.npz", *state.best.weights)
            saved = {name: getattr(state, name) for name in _NUMBERS} | {"best": best if best["epoch"] else None}
            (partial / "state.json").write_text(json.dumps(saved))
            partial.rename(final)
        except OSError as error:
            raise ExportError(f"cannot write a checkpoint to {self.folder}: {error.strerror or error}") from error
        for folder in before:
            shutil.rmtree(folder, ignore_errors=True)

    @uninterrupted()
    def load(self) -> State:
        """The saved state. Raises DataError."""
        keras = require("keras", extra="export", what="training")
        try:
            folder = _epochs(self.folder)[-1]
            saved = json.loads((folder / "state.json").read_text())
            best = Best(**(saved["best"] or {}))
            if best.epoch:
                with np.load(folder / "best.npz") as file:
                    best.weights = [file[f"arr_{number}"] for number in range(len(file.files))]
            model = keras.models.load_model(folder / "model.keras")
        except Exception as error:  # a damaged file may raise errors of several libraries
            raise DataError(f"the checkpoint in {self.folder} cannot be read: {error}; remove it") from error
        return State(model, best=best, **{name: saved[name] for name in _NUMBERS})

    def has_epochs(self) -> bool:
        """Whether an epoch was saved, so that the training can be continued."""
        return bool(_epochs(self.folder))

    def remove(self) -> None:
        """Remove the checkpoints, after the result of the training was saved elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
        try:
            self.folder.parent.rmdir()
        except OSError:  # there are other runs
            return

    def close(self) -> None:
        """Release the lock, so that another process can continue this training."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def begin(base_path: Path, settings: Mapping[str, Any]) -> Run:
    """Begin a run. `settings` describe it and must be JSON. Raises ExportError."""
    name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}-{os.getpid()}"
    folder = base_path / FOLDER / name
    try:
        folder.mkdir(parents=True)
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "run.json").write_text(json.dumps(dict(settings), ensure_ascii=False))
    except OSError as error:
        raise ExportError(f"cannot write to {folder}: {error.strerror}") from error
    others = _unlocked(base_path)
    for run in others[:-_UNFINISHED]:
        run.remove()
    for run in others[-_UNFINISHED:]:
        run.close()
    return Run(folder, lock)


def unfinished(base_path: Path, settings: Mapping[str, Any]) -> Run:
    """The newest interrupted training in `base_path` with these `settings`. Raises InvalidInput if there is none."""
    runs = []
    for run in _unlocked(base_path):
        if _epochs(run.folder):
            runs.append(run)
        else:
            run.close()
    if not runs:
        raise InvalidInput(f"there is no interrupted training in {base_path}: leave out --resume to start one")
    wanted = json.loads(json.dumps(dict(settings)))
    same = [run for run in runs if _settings(run.folder) == wanted]
    for run in runs:
        if not same or run is not same[-1]:
            run.close()
    if not same:
        saved = _settings(runs[-1].folder)
        name = next((name for name in wanted if saved.get(name) != wanted[name]), "options")
        raise InvalidInput(
            f"the interrupted training in {base_path} has {name.replace('_', ' ')} {saved.get(name)}, "
            f"not {wanted.get(name)}: give the same options as before"
        )
    return same[-1]


def _settings(folder: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return loaded


def _unlocked(base_path: Path) -> list[Run]:
    """The runs that no other process has locked, oldest first. This locks all of them."""
    runs = []
    for folder in sorted((base_path / FOLDER).glob("*")):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            runs.append(Run(folder, lock))
    return runs


def _epochs(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"), key=lambda path: path.name)


# ---- a model from a file


def from_file(path: Path, architecture: str, shape: tuple[int, ...], classes: int) -> Any:
    """The model in a .keras or .h5 file, with the state of its optimizer. Raises InvalidInput, DataError."""
    keras = require("keras", extra="export", what="training")
    if not path.is_file():
        raise InvalidInput(f"there is no {path} to resume from")
    try:
        with lower_case(path) as readable, uninterrupted():
            model = keras.models.load_model(readable)
        optimizer = getattr(model, "optimizer", None)  # a model that was never compiled has none
        if path.suffix.lower() == ".h5" and optimizer is not None:
            optimizer = _optimizer_in_h5(path, model)
    except Exception as error:  # a damaged file may raise errors of several libraries
        if keras_version(path).startswith(("1", "2")):
            hint = "it is a file of Keras 2, whose optimizer Keras 3 does not read: hangtag publish takes it unchanged"
            raise InvalidInput(f"cannot resume the training of {path}: {hint}") from error
        raise InvalidInput(f"Keras cannot load {path}: {reason(error, path)}") from error
    if optimizer is None:
        raise InvalidInput(f"{path} was saved without its optimizer, so its training cannot be resumed")
    name = model.name.replace("_", "-")
    if name in NAMES and name != architecture:
        raise InvalidInput(f"{path} is of the architecture {name}: give --architecture {name} to train it as such")
    if len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise DataError(f"{path} is not a model of one input and one output, which training needs")
    if model.input_shape[1:] != shape:
        raise DataError(f"{path} takes images of {list(model.input_shape[1:])}, but the data set has {list(shape)}")
    if model.output_shape[1:] != (classes,):
        raise DataError(f"{path} has {model.output_shape[-1]} classes, but the data set has {classes}")
    model.optimizer = optimizer
    return model


def _optimizer_in_h5(path: Path, model: Any) -> Any:
    """The optimizer with its state from an HDF5 file.

    Keras 3 writes the state, but when it reads a Sequential model, it builds the optimizer before there are variables,
    and drops the state with a warning.
    """
    h5py = require("h5py", extra="export", what="training")
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    optimizer.build(model.trainable_variables)
    with h5py.File(path) as file:
        group = file["optimizer_weights"]
        values = [group[name][()] for name in group.attrs["weight_names"]]
    for variable, value in zip(optimizer.variables, values, strict=True):
        variable.assign(value)
    return optimizer
