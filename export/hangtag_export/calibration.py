"""The model to serve: a softmax for models that return logits, temperature scaling, and the mean over mirror images.

Temperature scaling divides the logits by a number that is chosen on validation images. Then a network's confidence
matches its accuracy, and no prediction changes. Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern
Neural Networks", arXiv:1706.04599.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hangtag.optional import require

_SMALLEST = 1e-7  # smaller probabilities are replaced by this before the logarithm
_RANGE = (0.05, 20.0)  # the smallest and the largest temperature


def ends_in_softmax(model: Any) -> bool:
    """Whether `model` returns probabilities, not logits."""
    keras = require("keras", extra="export", what="training")
    last = model.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax


def with_probabilities(model: Any, temperature: float = 1.0) -> Any:
    """The model to serve: `model`, followed by a softmax of its logits divided by `temperature`."""
    keras = require("keras", extra="export", what="training")
    softmax = ends_in_softmax(model)
    if softmax and temperature == 1:
        return model
    last: list[Any] = [keras.layers.Softmax(name="probabilities", dtype="float32")]
    if temperature != 1:
        last.insert(0, keras.layers.Rescaling(1 / temperature, name="temperature", dtype="float32"))
    if softmax:  # the logarithm of a softmax gives the logits plus a constant, which the next softmax removes
        last.insert(0, _log())
    return keras.Sequential([model, *last], name=f"{model.name}_with_softmax")


def with_mirror_images(model: Any) -> Any:
    """A model whose logits are the mean of those that `model` has for an image and for its mirror image.

    For a network that was trained on mirrored images: its errors on the two differ, and their mean has fewer.
    """
    keras = require("keras", extra="export", what="training")
    images = keras.Input(model.input_shape[1:], name="images")
    mean = keras.layers.Average()([model(images), model(keras.ops.flip(images, axis=2))])
    return keras.Model(images, mean, name=model.name)


def _log() -> Any:
    keras = require("keras", extra="export", what="training")

    class Log(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, probabilities: Any) -> Any:
            return keras.ops.log(keras.ops.maximum(probabilities, _SMALLEST))

    return Log(name="logits")


def find_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the smallest loss, from `probabilities` float32 [N, C] at temperature 1 and `labels` [N].

    If all N images are right, the next one may still be wrong. So a label counts as right with the probability
    (N + 1) / (N + 2); otherwise scores would become 0 and 1. Source: Platt, "Probabilistic outputs for support vector
    machines", 1999.

    >>> sure = np.array([[0.99, 0.01]] * 400, "f4")
    >>> round(find_temperature(sure, np.arange(400) // 300), 1)  # right three times in four, not 99 in 100
    4.2
    """
    doubt = 1 / (len(labels) + 2)
    logits = np.log(probabilities.astype(np.float64).clip(_SMALLEST, 1))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        expected = (1 - doubt) * scaled[rows, labels] + doubt * scaled.mean(axis=1)
        return float((np.log(np.exp(scaled).sum(axis=1)) - expected).mean())

    low, high = np.log(_RANGE)  # golden-section search: the loss has one minimum
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
