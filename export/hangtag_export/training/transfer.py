"""Architectures of keras.applications: a pretrained network, the backbone, with a new last layer.

Training has two phases: first the last layer alone, then the upper layers of the backbone as well, at a low rate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.optional import require

from .. import keras_files
from ..errors import DataError

BACKBONES = {
    "mobilenet-v3-small": "MobileNetV3Small",
    "efficientnet-v2-b0": "EfficientNetV2B0",
    "convnext-tiny": "ConvNeXtTiny",
}
"""Each architecture, with its function in keras.applications."""

SMALLEST = 32  # pixels
_UPPER = 1 / 3  # the part of the backbone's layers that is trained in the second phase
_BACKBONE = "backbone"


def build(name: str, shape: Sequence[int], classes: int, weights: str) -> Any:
    """The backbone `name` with `weights` ("imagenet", "none", or a file), and a last layer of `classes` logits.

    Raises InvalidInput for images that it cannot take, DataError for weights that cannot be loaded.
    """
    keras = require("keras", extra="export", what="training")
    if len(shape) != 3 or min(shape[:2]) < SMALLEST:
        raise InvalidInput(f"{name} needs colour images of {SMALLEST}x{SMALLEST} pixels or more, not {_size(shape)}")
    backbone = _backbone(name, shape, "imagenet" if weights == "imagenet" else None)
    images = keras.Input(tuple(shape), name="images")
    x = keras.layers.Rescaling(255.0, name="pixels")(images)  # every backbone scales 0..255 itself
    # The batch statistics of pretrained weights stay unchanged; without weights, they are trained.
    x = backbone(x) if weights == "none" else backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    # Probabilities need float32, even with mixed precision.
    logits = keras.layers.Dense(classes, dtype="float32", name="classes")(x)
    model = keras.Model(images, logits, name=name.replace("-", "_"))
    if weights not in ("imagenet", "none"):
        _load(model, backbone, Path(weights))
    return model


def freeze(model: Any) -> None:
    """Train only the last layer."""
    model.get_layer(_BACKBONE).trainable = False


def unfreeze_upper_layers(model: Any) -> None:
    """Train the upper third of the backbone too, except its batch statistics."""
    keras = require("keras", extra="export", what="training")
    backbone = model.get_layer(_BACKBONE)
    backbone.trainable = True
    first = round(len(backbone.layers) * (1 - _UPPER))
    for number, layer in enumerate(backbone.layers):
        layer.trainable = number >= first and not isinstance(layer, keras.layers.BatchNormalization)


def _backbone(name: str, shape: Sequence[int], weights: str | None) -> Any:
    keras = require("keras", extra="export", what="training")
    function = getattr(keras.applications, BACKBONES[name])
    try:
        return function(include_top=False, weights=weights, input_shape=tuple(shape), name=_BACKBONE)
    except Exception as error:  # Keras raises a plain Exception if a download fails
        if weights is None:
            raise
        address = re.search(r"https?://\S+?/([\w.-]+\.h5)", str(error))
        file = address[1] if address else "its weights file"
        raise DataError(
            f"the ImageNet weights of {name} cannot be downloaded. Put {file} into "
            f"{Path('~/.keras/models').expanduser()}, or give --weights none or --weights FILE"
        ) from error


@keras_files.uninterrupted()
def _load(model: Any, backbone: Any, file: Path) -> None:
    """Load weights from a file: of the backbone or of a whole model of this architecture, or a saved Keras model."""
    if not file.is_file():
        raise InvalidInput(
            f"there is no file {file}: --weights is imagenet, none, or a .weights.h5, .keras or .h5 file"
        )
    keras = require("keras", extra="export", what="training")
    if file.suffix == ".h5" and _is_model(file):  # Keras 3 cannot rebuild every model from HDF5: take weights by name
        before = backbone.get_weights()
        try:
            model.load_weights(file, by_name=True, skip_mismatch=True)
        except Exception as error:  # h5py and Keras raise several kinds
            raise DataError(f"{file} cannot be read: {keras_files.reason(error, file)}") from error
        if all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True)):
            raise DataError(f"{file} has no weights for {model.name.replace('_', '-')}")
        return
    if file.suffix == ".keras":
        try:
            saved = keras.models.load_model(file, compile=False)
        except Exception as error:  # a damaged file may raise errors of several libraries
            raise DataError(f"{file} cannot be read: {keras_files.reason(error, file)}") from error
        inner = [layer for layer in saved.layers if layer.name == _BACKBONE]
        source = (inner[0] if inner else saved).get_weights()
        wanted = backbone.get_weights()
        if [array.shape for array in source[: len(wanted)]] != [array.shape for array in wanted]:
            raise DataError(f"{file} has other layers than {model.name.replace('_', '-')}")
        backbone.set_weights(source[: len(wanted)])
        return
    if file.suffix != ".h5":
        raise InvalidInput(f"{file} must end in .weights.h5, .keras or .h5")
    failures = []
    for target in (backbone, model):
        try:
            target.load_weights(file)
        except Exception as error:  # h5py and Keras raise several kinds
            failures.append(error)
        else:
            return
    reason = keras_files.reason(failures[0], file)
    raise DataError(f"{file} has no weights for {model.name.replace('_', '-')}: {reason}") from failures[0]


def _is_model(file: Path) -> bool:
    """Whether an .h5 file has a whole model, not only weights."""
    h5py = require("h5py", extra="export", what="training")
    try:
        with h5py.File(file) as opened:
            return "model_config" in opened.attrs
    except OSError as error:
        raise DataError(f"{file} is not an HDF5 file") from error


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]} {'in colour' if len(shape) == 3 else 'grey'}"
