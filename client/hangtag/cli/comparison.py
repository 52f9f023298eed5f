"""Two versions of a model, or two servers, on the same images: agreement, accuracy and latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..client import Client
from ..errors import InvalidInput

BATCH = 32
"""Images a call while comparing: enough calls for a median, large enough to be typical."""


@dataclass(frozen=True)
class Side:
    """One of the two: its name, the version that answered, how often it was right (None: labels unknown), its pace."""

    name: str
    model_version: int | None
    accuracy: float | None
    p50_ms: float


@dataclass(frozen=True)
class Change:
    """An image on which the two differ: its position and both class names."""

    image: int
    left: str
    right: str


@dataclass(frozen=True)
class Comparison:
    """What came of it; `agreement` is the share of images with the same class name, 0..1."""

    images: int
    agreement: float
    left: Side
    right: Side
    changes: list[Change] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json."""
        return asdict(self)


def compare(
    left: Client,
    right: Client,
    images: Sequence[Any] | np.ndarray,
    *,
    truth: Sequence[str] | None = None,
    names: tuple[str, str] = ("left", "right"),
) -> Comparison:
    """Classify `images` by both clients in turn; `truth` are the class names that would be right.

    The turns alternate, so that a slow moment of the machine falls on both. Latency is the median over calls of
    ``BATCH`` images, in milliseconds, as the client sees it.

    >>> with Client("localhost:8500", version=1) as old, Client("localhost:8500") as new:
    ...     result = compare(old, new, images[:100], names=("old", "new"))
    >>> result.agreement, result.right.name, result.right.model_version, result.changes
    (1.0, 'new', 1, [])
    """
    if not len(images):
        raise InvalidInput("there are no images to compare on")
    if truth is not None and len(truth) != len(images):
        raise InvalidInput(f"{len(images)} images and {len(truth)} true class names")
    clients = (left, right)
    for client in clients:  # connections, metadata and names are not what is timed
        client.classify(images[:1])
    labels: tuple[list[str], list[str]] = ([], [])
    seconds: tuple[list[float], list[float]] = ([], [])
    versions: list[int | None] = [None, None]
    for number, start in enumerate(range(0, len(images), BATCH)):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            begun = time.perf_counter()
            result = clients[side].classify(images[start : start + BATCH])
            seconds[side].append(time.perf_counter() - begun)
            labels[side].extend(result.labels.tolist())
            versions[side] = result.model_version
    sides = [
        Side(
            names[side],
            versions[side],
            _accuracy(labels[side], truth),
            round(1e3 * statistics.median(seconds[side]), 3),
        )
        for side in (0, 1)
    ]
    pairs = enumerate(zip(*labels, strict=True))
    changes = [Change(image, one, other) for image, (one, other) in pairs if one != other]
    return Comparison(len(images), 1 - len(changes) / len(images), sides[0], sides[1], changes)


def _accuracy(labels: Sequence[str], truth: Sequence[str] | None) -> float | None:
    if truth is None:
        return None
    return sum(found == true for found, true in zip(labels, truth, strict=True)) / len(truth)
