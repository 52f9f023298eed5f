"""The models, as the Fashion-MNIST tutorials have them.

Every model takes float32 images 0..1 of [H, W] (or [H, W, 3]) and ends in one unit a class. `logits` ends there;
the others add a softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.extras import require

HIDDEN = {"dense": (128,), "dense-512": (512,), "logits": (128,)}
"""Units of the hidden layers of each architecture."""

NAMES = tuple(HIDDEN)


def build(name: str, shape: Sequence[int], classes: int, hidden: Sequence[int] | None = None) -> Any:
    """An untrained, compiled Keras model for images of `shape`.

    `hidden` replaces the architecture's hidden layers.
    """
    keras = require("keras", extra="export", what="training")
    if name not in HIDDEN:
        raise InvalidInput(f"architecture {name!r} is not known: choose one of {', '.join(NAMES)}")
    layers = keras.layers
    from_logits = name == "logits"
    model = keras.Sequential(
        [
            keras.Input(tuple(shape), name="images"),
            layers.Flatten(name="flatten"),
            *(
                layers.Dense(units, activation="relu", name=f"hidden_{number}")
                for number, units in enumerate(hidden or HIDDEN[name], 1)
            ),
            layers.Dense(classes, activation=None if from_logits else "softmax", name="classes"),
        ],
        name=name.replace("-", "_"),
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
        metrics=["accuracy"],
        # 1.8 x on two cores with the same result: one call into the graph for 125 batches instead of one a batch.
        steps_per_execution=125,
        jit_compile=True,
    )
    return model


def with_probabilities(model: Any) -> Any:
    """`model`, ending in a softmax if it does not yet."""
    keras = require("keras", extra="export", what="training")
    if model.layers[-1].activation is keras.activations.softmax:
        return model
    return keras.Sequential([model, keras.layers.Softmax(name="probabilities")], name=f"{model.name}_with_softmax")
