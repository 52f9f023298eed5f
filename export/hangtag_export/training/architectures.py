"""The models: those of the Fashion-MNIST tutorials, a small residual network, and pretrained ones for photos.

Every model takes float32 images 0..1 of [H, W] or [H, W, 3] and ends in one unit per class. `dense` and `dense-512` end
in a softmax; the others return logits, and get a softmax for serving.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.optional import require

from . import transfer


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained by default."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3  # the peak, where one_cycle is set
    validation_split: float = 0.0  # the part of the training images that chooses the best epoch
    patience: int | None = None  # training ends after so many epochs without a better one
    one_cycle: bool = False  # the rate rises for a fifth of the steps and falls to zero over the rest
    muon: bool = False  # kernels of convolutions are updated by Muon
    mirrored: bool = False  # the model to serve takes the mean of an image and its mirror image
    augment: str | None = None  # "shift" for small images, "photo" for photos
    hidden: tuple[int, ...] = ()  # units of the dense layers
    head_epochs: int = 0  # with pretrained weights: epochs in which only the new last layer is trained
    fine_tuning_rate: float = 0.0  # with pretrained weights: learning rate of the epochs after those
    image_shape: tuple[int, ...] = (28, 28)  # of a folder's images


_SMALL = Recipe(
    epochs=12,
    batch_size=128,
    learning_rate=8e-3,
    validation_split=1 / 12,
    one_cycle=True,
    muon=True,
    mirrored=True,
    augment="shift",
)
_PRETRAINED = Recipe(
    epochs=20,
    validation_split=0.15,
    patience=5,
    augment="photo",
    head_epochs=6,
    fine_tuning_rate=1e-4,
    image_shape=(224, 224, 3),
)

RECIPES = {
    "dense": Recipe(hidden=(128,)),
    "dense-512": Recipe(hidden=(512,)),
    "logits": Recipe(hidden=(128,)),
    "cnn": _SMALL,
    **dict.fromkeys(transfer.BACKBONES, _PRETRAINED),
}

CNN_FOR_PHOTOS = Recipe(
    epochs=40,
    batch_size=16,
    learning_rate=3e-3,
    validation_split=0.15,
    one_cycle=True,
    augment="photo",
    image_shape=(96, 96, 3),
)
"""The recipe of `cnn` for a folder of images, which usually has few and large images."""

NAMES = tuple(RECIPES)

_SMALL_SIDE = 32  # pixels; the cnn treats images up to this size as small
_USUAL_SIDE = 96  # pixels; the cnn reduces larger images to about this size


def recipe(name: str, *, photos: bool = False) -> Recipe:
    """The recipe of `name` for Fashion-MNIST or, with `photos`, for a folder. Raises InvalidInput for other names."""
    if name not in RECIPES:
        raise InvalidInput(f"architecture {name!r} is not known: choose one of {', '.join(NAMES)}")
    return CNN_FOR_PHOTOS if photos and name == "cnn" else RECIPES[name]


def choose_kernels(name: str) -> None:
    """Have TensorFlow compute convolutions by oneDNN, unless the environment says otherwise; before it is loaded.

    By itself it does so only on CPUs with AVX-512 VNNI or better. On others the cnn took up to 1.5 times as long.
    """
    if not recipe(name).hidden:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def build(
    name: str, shape: Sequence[int], classes: int, hidden: Sequence[int] | None = None, weights: str = "none"
) -> Any:
    """An untrained Keras model for images of `shape`.

    `hidden` replaces the hidden layers of a dense architecture. `weights` ("imagenet", "none" or a file) are the
    initial weights of a pretrained architecture.
    """
    chosen = recipe(name)
    if hidden and not chosen.hidden:
        raise InvalidInput(f"--hidden is for the dense architectures: {name} has no such layers")
    if name in transfer.BACKBONES:
        return transfer.build(name, shape, classes, weights)
    if weights not in ("none", "imagenet"):
        raise InvalidInput(f"--weights FILE is for {', '.join(transfer.BACKBONES)}, not for {name}: give --resume FILE")
    if name == "cnn":
        if min(shape[:2]) < 3:
            raise InvalidInput(f"the cnn needs images of 3x3 pixels or more, not {shape[0]}x{shape[1]}")
        return _cnn(shape, classes)
    keras = require("keras", extra="export", what="training")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(tuple(shape), name="images"),
            layers.Flatten(name="flatten"),
            *(
                layers.Dense(units, activation="relu", name=f"hidden_{number}")
                for number, units in enumerate(hidden or chosen.hidden, 1)
            ),
            layers.Dense(classes, activation=None if name == "logits" else "softmax", name="classes"),
        ],
        name=name.replace("-", "_"),
    )


def _cnn(shape: Sequence[int], classes: int) -> Any:
    """A small residual network for float32 images (H, W) or (H, W, 3).

    28x28 images pass through 28x28x16 -> 14x14x48 -> 7x7x96, with about 260,000 weights. Pooling comes before the first
    convolution of a stage, which then takes a quarter of the time; the first layer has no normalisation. Images of more
    than 32 pixels begin with `_outlines`: 96x96 -> 24x24x24 -> 12x12x48 -> 6x6x96, with about 165,000 weights.
    """
    keras = require("keras", extra="export", what="training")
    layers = keras.layers

    def convolve(x: Any, width: int, *, bias: bool = False) -> Any:
        return layers.Conv2D(width, 3, padding="same", use_bias=bias, kernel_initializer="he_normal")(x)

    def normalize(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    images = keras.Input(tuple(shape), name="images")
    x = layers.Reshape((*shape[:2], shape[2] if len(shape) == 3 else 1))(images)
    if max(shape[:2]) <= _SMALL_SIDE:
        x = layers.ReLU()(convolve(x, 16, bias=True))
        for width in (48, 96):
            x = layers.ReLU()(normalize(convolve(layers.MaxPooling2D(padding="same")(x), width)))
            y = layers.ReLU()(normalize(convolve(x, width)))
            x = layers.ReLU()(layers.Add()([x, normalize(convolve(y, width))]))
        features = [layers.GlobalMaxPooling2D()(x)]
    else:
        light = layers.GlobalAveragePooling2D()(x)
        x = _outlines(x)
        for width in (24, 48, 96):
            x = layers.ReLU()(normalize(convolve(x, width)))
            x = layers.ReLU()(layers.Add()([x, normalize(convolve(x, width))]))
            if width < 96:
                x = layers.MaxPooling2D(padding="same")(x)
        features = [layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x), light]
    x = layers.Concatenate()(features) if len(features) > 1 else features[0]
    return keras.Model(images, layers.Dense(classes, name="classes")(layers.Dropout(0.2)(x)), name="cnn")


def _outlines(images: Any) -> Any:
    """Outlines and colours at a quarter of the size, from images that are first reduced to about 96 pixels per side.

    From a few hundred photos, a network does not learn that an outline is the same in other colours, or with the bright
    side on the other side. So the first filters are fixed: the absolute derivatives of each colour in four directions.
    Each image is normalised, so that its brightness matters less. Fixed first layers help on small data sets: Oyallon,
    Belilovsky and Zagoruyko, "Scaling the scattering transform", arXiv:1703.08961.
    """
    keras = require("keras", extra="export", what="training")
    layers = keras.layers
    halvings = round(math.log2(max(images.shape[1:3]) / _USUAL_SIDE))
    if halvings > 0:
        images = layers.AveragePooling2D(2**halvings, padding="same")(images)
    images = layers.GroupNormalization(groups=1, epsilon=1e-5, center=False, scale=False)(images)
    derivatives = layers.DepthwiseConv2D(
        5, strides=2, depth_multiplier=4, padding="same", use_bias=False, trainable=False, name="derivatives"
    )
    signed = derivatives(images)
    y, x = np.mgrid[-2:3, -2:3]
    angles = np.arange(4) * np.pi / 4
    filters = (x[..., None] * np.cos(angles) + y[..., None] * np.sin(angles)) * np.exp(-(x**2 + y**2) / 2)[..., None]
    filters *= 2 / np.abs(filters).sum(axis=(0, 1))
    derivatives.set_weights([np.repeat(filters[:, :, None], images.shape[-1], axis=2)])
    outlines = layers.Maximum()([signed, layers.Rescaling(-1.0)(signed)])  # the absolute value
    return layers.Concatenate()(
        [layers.AveragePooling2D(4, padding="same")(images), layers.MaxPooling2D(2, padding="same")(outlines)]
    )
