"""Training: the same seed gives the same weights, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..errors import DataError
from . import augmentation, callbacks
from .architectures import NAMES, Recipe, compile_with

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingOptions:
    """How long and in which steps to train."""

    epochs: int = 10
    batch_size: int = 32
    seed: int = 42
    learning_rate: float | None = None  # None: the architecture's own, or on resuming what the file has
    validation_split: float = 0.0  # part of the training images that is held out; the epoch best on them is kept
    stop_at_loss: float | None = None  # training ends with the epoch whose loss is at most this
    target_accuracy: float | None = None  # or whose accuracy is at least this
    tensorboard: Path | None = None
    log: Path | None = None  # CSV, a line an epoch


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow."""
    require("keras", extra="export", what="training").utils.set_random_seed(seed)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let TensorFlow use deterministic ops only.

    Not before the model is compiled: Keras would then do without XLA, at nearly twice the time, though XLA's own code
    for these layers is deterministic (figures: docs/reference/export.md; a test compares the weights bit by bit).
    """
    tf = require("tensorflow", extra="export", what="training")
    config = require("tensorflow.python.framework.config", extra="export", what="training")
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        config.disable_op_determinism()


def resume(path: Path, architecture: str, shape: tuple[int, ...], classes: int) -> Any:
    """The model in a .keras or .h5 file, with its optimizer as it was left. Raises InvalidInput, DataError."""
    keras = require("keras", extra="export", what="training")
    if not path.is_file():
        raise InvalidInput(f"there is no {path} to resume from")
    try:
        model = keras.models.load_model(path)
        optimizer = model.optimizer
        if path.suffix == ".h5" and optimizer is not None:
            optimizer = _optimizer_in_h5(path, model)
    except Exception as error:  # a damaged file comes out as any of several libraries' errors
        raise InvalidInput(f"{path} is not a Keras model: {str(error).splitlines()[0]}") from error
    name = model.name.replace("_", "-")
    if name in NAMES and name != architecture:
        raise InvalidInput(f"{path} is of the architecture {name}: give --architecture {name} to train it as such")
    if model.input_shape[1:] != shape:
        raise DataError(f"{path} is for images of {list(model.input_shape[1:])}, the data set's are {list(shape)}")
    if model.output_shape[1] != classes:
        raise DataError(f"{path} knows {model.output_shape[1]} classes, the data set has {classes}")
    if optimizer is None:
        raise InvalidInput(f"{path} was saved without its optimizer: training cannot go on from it")
    return compile_with(model, optimizer)


def _optimizer_in_h5(path: Path, model: Any) -> Any:
    """The optimizer with its state from an HDF5 file.

    Keras 3 writes the state there, but builds the optimizer for no variables when it reads a Sequential model, and so
    drops it with a warning.
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


def fit(
    model: Any, images: np.ndarray, labels: np.ndarray, options: TrainingOptions, recipe: Recipe, say: Say
) -> dict[str, list[float]]:
    """Train `model` on uint8 `images`; return its losses and accuracies by epoch."""
    _check_labels(labels, model.output_shape[-1])
    held_out = round(len(images) * options.validation_split)
    order = np.random.default_rng(options.seed).permutation(len(images)) if held_out else np.arange(len(images))
    train, validation = order[held_out:], order[:held_out]
    if held_out and not len(train):
        raise InvalidInput(f"a validation split of {options.validation_split:g} leaves nothing to train on")
    steps = -(-len(train) // options.batch_size)
    rate = options.learning_rate or (recipe.learning_rate if recipe.one_cycle else None)
    if rate is not None:
        model.optimizer.learning_rate.assign(rate)
    chosen = [
        callbacks.progress(options.epochs, say),
        callbacks.stop_when(options.stop_at_loss, options.target_accuracy, say),
        *([callbacks.one_cycle(rate or recipe.learning_rate, steps * options.epochs)] if recipe.one_cycle else []),
        *([callbacks.best_epoch(say)] if held_out else []),
        *callbacks.logs(options.log, options.tensorboard),
    ]
    shared = {"epochs": options.epochs, "verbose": 0, "callbacks": chosen}
    if held_out:
        shared["validation_data"] = (as_floats(images[validation]), labels[validation])
        shared["validation_batch_size"] = 1000
    with _deterministic():
        if recipe.augment:
            data = augmentation.batches(images[train], labels[train], options.batch_size, options.seed)
            history = model.fit(data, shuffle=False, **shared)
        else:
            history = model.fit(as_floats(images[train]), labels[train], batch_size=options.batch_size, **shared)
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def as_floats(images: np.ndarray) -> np.ndarray:
    """Pixels 0..255 as float32 0..1: the same division, in the same precision, as the exported graph does."""
    return images.astype(np.float32) / np.float32(255)


def _check_labels(labels: np.ndarray, classes: int) -> None:
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(f"label {outside[0]} is outside the model's classes 0..{classes - 1}")
