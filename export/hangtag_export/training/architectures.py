"""The models: those of the Fashion-MNIST tutorials, a small residual network, and pretrained ones for photos.

Every model takes float32 images 0..1 of [H, W] (or [H, W, 3]) and ends in one unit a class. `dense` and `dense-512`
end in a softmax; the others give logits, and get a softmax for serving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from . import transfer


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained where the options say nothing else."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3  # the peak, where one_cycle is set
    validation_split: float = 0.0  # part of the training images; the epoch that is best on them is used
    patience: int | None = None  # epochs without a better one on the validation images, after which training ends
    one_cycle: bool = False  # the rate rises for a fifth of the steps and falls to zero over the rest
    augment: str | None = None  # "shift" for small images, "photo" for photos
    hidden: tuple[int, ...] = ()  # units of the dense layers
    head_epochs: int = 0  # with pretrained weights: epochs in which only the new last layer is trained
    fine_tuning_rate: float = 0.0  # with pretrained weights: learning rate of the epochs after those
    image_shape: tuple[int, ...] = (28, 28)  # of a folder's images


_SMALL = Recipe(epochs=10, batch_size=128, learning_rate=3e-3, validation_split=1 / 12, one_cycle=True, augment="shift")
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
    batch_size=32,
    learning_rate=2e-3,
    validation_split=0.15,
    one_cycle=True,
    augment="photo",
    image_shape=(96, 96, 3),
)
"""The recipe of `cnn` for a folder of images, of which there are few, and large ones."""

NAMES = tuple(RECIPES)

_SMALL_SIDE = 32  # pixels, up to which an image is small for the cnn


def recipe(name: str, *, photos: bool = False) -> Recipe:
    """How `name` is trained on Fashion-MNIST or, for `photos`, on a folder. Raises InvalidInput for other names."""
    if name not in RECIPES:
        raise InvalidInput(f"architecture {name!r} is not known: choose one of {', '.join(NAMES)}")
    return CNN_FOR_PHOTOS if photos and name == "cnn" else RECIPES[name]


def build(
    name: str, shape: Sequence[int], classes: int, hidden: Sequence[int] | None = None, weights: str = "none"
) -> Any:
    """An untrained Keras model for images of `shape`.

    `hidden` replaces the hidden layers of a dense architecture; `weights` ("imagenet", "none" or a file) are those that
    a pretrained architecture begins with.
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
    """A small residual network, in float32 (H, W) or (H, W, 3).

    For 28x28 images 28x28x16 -> 14x14x48 -> 7x7x96, some 260,000 weights. Pooling comes before normalisation and
    activation, which then cost a quarter; the stem, at full size, has none. Images of more than 32 pixels are made
    smaller by the stem, which takes most of the time otherwise, and each is normalised first, so that light and colour
    count less: 96x96 -> 24x24x32 -> 12x12x64 -> 6x6x96.
    """
    keras = require("keras", extra="export", what="training")
    layers = keras.layers

    def convolve(x: Any, width: int, *, bias: bool = False, strides: int = 1) -> Any:
        return layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=bias, kernel_initializer="he_normal")(
            x
        )

    def normalize(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    def residual(x: Any, width: int) -> Any:
        y = layers.ReLU()(normalize(convolve(x, width)))
        return layers.ReLU()(layers.Add()([x, normalize(convolve(y, width))]))

    images = keras.Input(tuple(shape), name="images")
    x = layers.Reshape((*shape[:2], shape[2] if len(shape) == 3 else 1))(images)
    if max(shape[:2]) <= _SMALL_SIDE:
        x = layers.ReLU()(convolve(x, 16, bias=True))
        widths = (48, 96)
    else:
        x = layers.GroupNormalization(groups=1, center=False, scale=False)(x)
        x = layers.ReLU()(normalize(convolve(x, 16, strides=2)))
        for _ in range(max(1, round(math.log2(max(shape[:2]) / 48)))):
            x = layers.MaxPooling2D(padding="same")(x)
        x = residual(layers.ReLU()(normalize(convolve(x, 32))), 32)
        widths = (64, 96)
    for width in widths:
        x = layers.ReLU()(normalize(layers.MaxPooling2D(padding="same")(convolve(x, width))))
        x = residual(x, width)
    x = layers.Dropout(0.2)(layers.GlobalMaxPooling2D()(x))
    return keras.Model(images, layers.Dense(classes, name="classes")(x), name="cnn")
