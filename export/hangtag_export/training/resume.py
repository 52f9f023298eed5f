"""Loads a Keras model with the state of its optimizer, to continue its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..errors import DataError
from ..keras_files import keras_version, lower_case, reason
from .architectures import NAMES


def load(path: Path, architecture: str, shape: tuple[int, ...], classes: int) -> Any:
    """The model in a .keras or .h5 file. Raises InvalidInput, DataError."""
    keras = require("keras", extra="export", what="training")
    if not path.is_file():
        raise InvalidInput(f"there is no {path} to resume from")
    try:
        with lower_case(path) as readable:
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
