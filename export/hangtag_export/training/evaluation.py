"""How good a classifier is: loss, accuracy, and per class precision, recall and F1, with the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .fit import as_floats

_BATCH = 1000
_SMALLEST = 1e-7  # probability, as Keras clips it in the loss


@dataclass(frozen=True)
class Evaluation:
    """Of N images: `probabilities` float32 [N, C]; `confusion` int64 [C, C], true class by predicted class."""

    loss: float
    accuracy: float
    probabilities: np.ndarray
    confusion: np.ndarray
    class_names: tuple[str, ...]

    @property
    def precision(self) -> np.ndarray:
        """Of what was called this class, the part that is; float64 [C], 0 where nothing was."""
        return _part(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """Of what is this class, the part that was called so; float64 [C]."""
        return _part(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of the two; float64 [C]."""
        return _part(2 * self.precision * self.recall, self.precision + self.recall)

    def to_dict(self) -> dict[str, Any]:
        """For ``hangtag.json``."""
        columns = (self.precision, self.recall, self.f1, self.confusion.sum(axis=1))
        return {
            "test_accuracy": self.accuracy,
            "test_loss": self.loss,
            "per_class": {
                name: {"precision": round(p, 4), "recall": round(r, 4), "f1": round(f, 4), "images": int(n)}
                for name, p, r, f, n in zip(self.class_names, *(c.tolist() for c in columns), strict=True)
            },
            "confusion_matrix": self.confusion.tolist(),
        }

    def table(self) -> str:
        """For the terminal: a line a class, and the confusion matrix below."""
        width = max(len("class"), *(len(name) for name in self.class_names))
        lines = [f"{'class':{width}}  precision  recall      f1  images"]
        for row in zip(self.class_names, self.precision, self.recall, self.f1, self.confusion.sum(axis=1), strict=True):
            lines.append("{:{width}}  {:9.4f}  {:6.4f}  {:6.4f}  {:6}".format(*row, width=width))
        cell = max(4, len(str(self.confusion.max())) + 1)
        lines.append(f"{'true, by predicted':{width}}" + "".join(f"{n:{cell}}" for n in range(len(self.class_names))))
        for number, (name, counts) in enumerate(zip(self.class_names, self.confusion, strict=True)):
            lines.append(f"{f'{number} {name}':{max(width, 18)}}" + "".join(f"{count:{cell}}" for count in counts))
        return "\n".join(lines)


def evaluate(model: Any, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Evaluation:
    """Put uint8 `images` through `model`, which gives probabilities, and compare with `labels`."""
    return compare(model.predict(as_floats(images), batch_size=_BATCH, verbose=0), labels, class_names)


def compare(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Evaluation:
    """Hold float32 [N, C] against the true labels, int64 [N].

    >>> found = compare(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], "f4"), np.array([0, 1, 1]), ["bag", "boot"])
    >>> round(found.accuracy, 4), found.confusion.tolist(), found.precision.tolist(), found.recall.tolist()
    (0.6667, [[1, 0], [1, 1]], [0.5, 1.0], [1.0, 0.5])
    """
    count = len(class_names)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        loss=float(-np.log(right.clip(_SMALLEST, 1)).mean()),
        accuracy=float((predicted == labels).mean()),
        probabilities=probabilities,
        confusion=confusion,
        class_names=tuple(class_names),
    )


def _part(some: np.ndarray, of_all: np.ndarray) -> np.ndarray:
    part: np.ndarray = np.divide(some, of_all, out=np.zeros(len(some)), where=of_all > 0)
    return part
