"""The models, as the Fashion-MNIST tutorials have them, and one that does better.

Every model takes float32 images 0..1 of [H, W] (or [H, W, 3]) and ends in one unit a class. `dense` and `dense-512`
end in a softmax; `logits` and `cnn` do not, and get one for serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained when nothing else is asked for."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3  # Adam's own default; the peak, where one_cycle is set
    validation_split: float = 0.0  # of the training images; the epoch that does best on them is kept
    one_cycle: bool = False  # the rate climbs for a fifth of the steps and falls to nothing over the rest
    augment: bool = False  # mirror and shift the training images
    hidden: tuple[int, ...] = ()  # units of the dense layers


RECIPES = {
    "dense": Recipe(hidden=(128,)),
    "dense-512": Recipe(hidden=(512,)),
    "logits": Recipe(hidden=(128,)),
    "cnn": Recipe(epochs=10, batch_size=128, learning_rate=3e-3, validation_split=1 / 12, one_cycle=True, augment=True),
}

NAMES = tuple(RECIPES)


def build(name: str, shape: Sequence[int], classes: int, hidden: Sequence[int] | None = None) -> Any:
    """An untrained, compiled Keras model for images of `shape`.

    `hidden` replaces the hidden layers of a dense architecture.
    """
    keras = require("keras", extra="export", what="training")
    if name not in RECIPES:
        raise InvalidInput(f"architecture {name!r} is not known: choose one of {', '.join(NAMES)}")
    if name == "cnn":
        if hidden:
            raise InvalidInput("--hidden is for the dense architectures: the cnn has no such layers")
        if min(shape[:2]) < 3:
            raise InvalidInput(f"the cnn needs images of 3x3 pixels or more, not {shape[0]}x{shape[1]}")
        return _compiled(_cnn(shape, classes), "cnn")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(tuple(shape), name="images"),
            layers.Flatten(name="flatten"),
            *(
                layers.Dense(units, activation="relu", name=f"hidden_{number}")
                for number, units in enumerate(hidden or RECIPES[name].hidden, 1)
            ),
            layers.Dense(classes, activation=None if name == "logits" else "softmax", name="classes"),
        ],
        name=name.replace("-", "_"),
    )
    return _compiled(model, name)


def _compiled(model: Any, name: str) -> Any:
    keras = require("keras", extra="export", what="training")
    recipe = RECIPES[name]
    if recipe.hidden:
        optimizer = keras.optimizers.Adam(learning_rate=recipe.learning_rate)
    else:
        optimizer = keras.optimizers.AdamW(learning_rate=recipe.learning_rate, weight_decay=0.05)
    return compile_with(model, optimizer)


def compile_with(model: Any, optimizer: Any) -> Any:
    """Make `model` ready to be trained by `optimizer`, whose state stays as it is."""
    keras = require("keras", extra="export", what="training")
    convolves = any(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model)),
        metrics=["accuracy"],
        # One call into the graph for 125 batches instead of one a batch, compiled: three times as fast on two cores,
        # with the same result. XLA's convolutions are slower than oneDNN's, so those are not compiled.
        steps_per_execution=13 if convolves else 125,
        jit_compile=not convolves,
    )
    return model


def _cnn(shape: Sequence[int], classes: int) -> Any:
    """A small residual network: 28x28x16 -> 14x14x48 -> 7x7x96, some 260,000 weights.

    Pooling comes before normalisation and activation, which then cost a quarter; the stem, at full size, has none.
    """
    keras = require("keras", extra="export", what="training")
    layers = keras.layers

    def convolve(x: Any, width: int, *, bias: bool = False) -> Any:
        return layers.Conv2D(width, 3, padding="same", use_bias=bias, kernel_initializer="he_normal")(x)

    def normalize(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    images = keras.Input(tuple(shape), name="images")
    channels = shape[2] if len(shape) == 3 else 1
    x = layers.Reshape((*shape[:2], channels))(images)
    x = layers.ReLU()(convolve(x, 16, bias=True))
    for width in (48, 96):
        x = convolve(x, width)
        x = layers.ReLU()(normalize(layers.MaxPooling2D(padding="same")(x)))
        y = layers.ReLU()(normalize(convolve(x, width)))
        y = normalize(convolve(y, width))
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Dropout(0.2)(layers.GlobalMaxPooling2D()(x))
    return keras.Model(images, layers.Dense(classes, name="classes")(x), name="cnn")


def ends_in_softmax(model: Any) -> bool:
    """Whether `model` gives probabilities, not logits."""
    keras = require("keras", extra="export", what="training")
    last = model.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax


def with_probabilities(model: Any) -> Any:
    """`model`, ending in a softmax if it does not yet."""
    keras = require("keras", extra="export", what="training")
    if ends_in_softmax(model):
        return model
    return keras.Sequential([model, keras.layers.Softmax(name="probabilities")], name=f"{model.name}_with_softmax")
