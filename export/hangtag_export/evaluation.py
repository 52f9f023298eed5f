"""Measures a classifier: loss, accuracy, calibration, confusion matrix, and precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput

from .data.dataset import Images, indices, pixels
from .errors import DataError
from .savedmodel import published

_SMALLEST = 1e-7  # the probability to which Keras clips in the loss
_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """The results for N images: `probabilities` float32 [N, C]; `confusion` int64 [C, C], true by predicted class.

    `calibration_error` is the expected calibration error, 0..1. 0 means that 80 % of the images with a score of 0.8 are
    right, and so on.
    """

    loss: float
    accuracy: float
    probabilities: np.ndarray
    confusion: np.ndarray
    class_names: tuple[str, ...]
    calibration_error: float

    @property
    def precision(self) -> np.ndarray:
        """The share of correct predictions among those of each class; float64 [C], 0 if there are none."""
        return _part(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """The share of each class's images that were predicted as this class; float64 [C]."""
        return _part(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall; float64 [C]."""
        return _part(2 * self.precision * self.recall, self.precision + self.recall)

    def to_dict(self) -> dict[str, Any]:
        """The figures for the model card, ``hangtag.json``."""
        columns = (self.precision, self.recall, self.f1, self.confusion.sum(axis=1))
        return {
            "test_accuracy": self.accuracy,
            "test_loss": self.loss,
            "expected_calibration_error": round(self.calibration_error, 4),
            "per_class": {
                name: {"precision": round(p, 4), "recall": round(r, 4), "f1": round(f, 4), "images": int(n)}
                for name, p, r, f, n in zip(self.class_names, *(c.tolist() for c in columns), strict=True)
            },
            "confusion_matrix": self.confusion.tolist(),
        }

    def table(self) -> str:
        """A table for the terminal: one line per class, then the confusion matrix."""
        width = max(len("class"), *(len(name) for name in self.class_names))
        lines = [f"{'class':{width}}  precision  recall      f1  images"]
        for row in zip(self.class_names, self.precision, self.recall, self.f1, self.confusion.sum(axis=1), strict=True):
            lines.append("{:{width}}  {:9.4f}  {:6.4f}  {:6.4f}  {:6}".format(*row, width=width))
        cell = max(4, len(str(self.confusion.max())) + 1)
        lines.append(f"{'true, by predicted':{width}}" + "".join(f"{n:{cell}}" for n in range(len(self.class_names))))
        for number, (name, counts) in enumerate(zip(self.class_names, self.confusion, strict=True)):
            lines.append(f"{f'{number} {name}':{max(width, 18)}}" + "".join(f"{count:{cell}}" for count in counts))
        return "\n".join(lines)


def evaluate(model: Any, images: Images, labels: np.ndarray, class_names: Sequence[str] | None = None) -> Evaluation:
    """Measure `model` on uint8 `images` [N, H, W] or [N, H, W, 3] with true `labels`, int64 [N].

    `model` is a Keras model that takes float32 images 0..1 and returns probabilities; it needs `class_names`. Or it is
    the path of a published version, or of a base path, for its newest version. A version has its own class names; if
    `class_names` are given too, they must be equal. Raises InvalidInput, DataError.

    >>> evaluate("models/fashion", dataset.test_images, dataset.test_labels).accuracy  # doctest: +SKIP
    0.8731
    """
    images = pixels(images, "images")
    if isinstance(model, str | Path):
        probabilities, names = published.predict(Path(model), images)
        if class_names is not None and list(class_names) != names:
            raise DataError(f"{model} has other classes than the images: {_first_difference(names, class_names)}")
        return compare(probabilities, labels, names)
    if class_names is None:
        raise InvalidInput("give class_names: a Keras model does not contain them")
    return compare(predict(model, images), labels, class_names)


def predict(model: Any, images: Images) -> np.ndarray:
    """The outputs of a Keras model for uint8 `images`, float32 [N, C], computed in batches."""
    size = evaluation_size(images.shape[1:])
    parts = [model.predict_on_batch(as_floats(images[start : start + size])) for start in range(0, len(images), size)]
    return np.concatenate(parts)


def as_floats(images: np.ndarray) -> np.ndarray:
    """Pixels 0..255 as float32 0..1, by the same division in the same precision as in the exported graph."""
    return images.astype(np.float32) / np.float32(255)


def evaluation_size(shape: tuple[int, ...]) -> int:
    """The batch size for evaluating images [H, W] or [H, W, 3]: at most 1,000 images or 10 million pixel values."""
    return int(np.clip(10_000_000 // int(np.prod(shape)), 8, 1000))


def _first_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)}, not {len(theirs)}"
    place = next(place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"class {place} is {ours[place]!r}, not {theirs[place]!r}"


def compare(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Evaluation:
    """Compare `probabilities`, float32 [N, C], with the true labels, int64 [N].

    >>> found = compare(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], "f4"), np.array([0, 1, 1]), ["bag", "boot"])
    >>> round(found.accuracy, 4), found.confusion.tolist(), found.precision.tolist(), found.recall.tolist()
    (0.6667, [[1, 0], [1, 1]], [0.5, 1.0], [1.0, 0.5])
    """
    count = len(class_names)
    if len(labels) != len(probabilities) or not len(labels):
        raise InvalidInput(
            f"{len(probabilities)} images and {len(labels)} labels: give one label per image, and at least one image"
        )
    labels = indices(labels, len(probabilities), count)
    if not np.isfinite(probabilities).all():
        raise DataError(
            "the model's scores are not finite numbers for some images: the model is damaged, or its training diverged"
        )
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        loss=float(-np.log(right.clip(_SMALLEST, 1)).mean()),
        accuracy=float((predicted == labels).mean()),
        probabilities=probabilities,
        confusion=confusion,
        class_names=tuple(class_names),
        calibration_error=calibration_error(probabilities, labels),
    )


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error, 0..1: the mean difference of confidence and accuracy over 15 bins.

    Source: Guo et al., arXiv:1706.04599.

    >>> calibration_error(np.array([[0.75, 0.25]] * 4, "f4"), np.array([0, 0, 0, 1]))
    0.0
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    gaps = np.abs(np.bincount(bins, confidence, _BINS) - np.bincount(bins, right, _BINS))
    return float(gaps.sum() / max(count.sum(), 1))


def _part(some: np.ndarray, of_all: np.ndarray) -> np.ndarray:
    part: np.ndarray = np.divide(some, of_all, out=np.zeros(len(some)), where=of_all > 0)
    return part
