"""What `classify` returns: arrays for the whole batch, from which the result of each image is made on demand."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

SHOWN = 20
"""How many images a result stores for its table in a notebook."""

_LARGEST_FILE = 100_000  # bytes: a notebook file stores its output, and twenty photographs would be megabytes


class Top(NamedTuple):
    """The best classes of each image, best first: `labels` str [N, k], `scores` float32 [N, k]."""

    labels: np.ndarray
    scores: np.ndarray


def _count(k: int) -> int:
    if k < 0:
        raise ValueError(f"k is {k}: give 0 or more")
    return k


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image: its class name, that class's probability (0..1), and the probabilities of all classes (float32 [C]).

    >>> row = Prediction("boot", 0.875, np.array([0.125, 0.875], "f4"), ("bag", "boot"))
    >>> row.label, row.score
    ('boot', 0.875)
    """

    label: str
    score: float
    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` best classes as (class name, probability), best first.

        >>> Prediction("boot", 0.875, np.array([0.125, 0.875], "f4"), ("bag", "boot")).top(2)
        [('boot', 0.875), ('bag', 0.125)]
        """
        order = np.argsort(-self.probabilities, kind="stable")[: _count(k)]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json.

        >>> Prediction("boot", 0.875, np.array([0.125, 0.875], "f4"), ("bag", "boot")).to_dict()
        {'label': 'boot', 'score': 0.875, 'probabilities': [0.125, 0.875], 'class_names': ['bag', 'boot']}
        """
        return {
            "label": self.label,
            "score": self.score,
            "probabilities": self.probabilities.tolist(),
            "class_names": list(self.class_names),
        }


class Classification:
    """Class names for N images, in the order they were given.

    `probabilities` is float32 [N, C], `class_names` the C names; `model_version` is the version that answered. The
    arrays are read-only. `independent` is true for a multi-label model, whose classes do not exclude each other: the
    probabilities of an image need not sum to 1, and `above` gives all its labels.

    An index gives the `Prediction` of one image. A slice or an array of booleans or integers gives another
    Classification, as in ``result[result.indices != truth]``.

    >>> result = Classification(np.array([[0.1, 0.9], [0.7, 0.3]], "f4"), ("bag", "boot"), model_version=3)
    >>> result.labels.tolist(), result[0].label, len(result)
    (['boot', 'bag'], 'boot', 2)
    >>> result.top(1).labels.tolist()
    [['boot'], ['bag']]
    """

    def __init__(
        self,
        probabilities: np.ndarray,
        class_names: tuple[str, ...],
        *,
        model_version: int | None = None,
        thumbnails: Sequence[Any] | np.ndarray = (),
        independent: bool = False,
    ) -> None:
        self._thumbnails = thumbnails  # the first few images, for the table in a notebook
        self.probabilities = probabilities
        self.class_names = class_names
        self.model_version = model_version
        self.independent = independent

    @cached_property
    def indices(self) -> np.ndarray:
        """The index of the most probable class of each image, int64 [N].

        >>> Classification(np.array([[0.1, 0.9], [0.7, 0.3]], "f4"), ("bag", "boot")).indices.tolist()
        [1, 0]
        """
        best: np.ndarray = self.probabilities.argmax(axis=1) if len(self) else np.zeros(0, np.int64)
        return best

    @property
    def labels(self) -> np.ndarray:
        """The most probable class name of each image, str [N].

        >>> Classification(np.array([[0.1, 0.9], [0.7, 0.3]], "f4"), ("bag", "boot")).labels.tolist()
        ['boot', 'bag']
        """
        names: np.ndarray = np.array(self.class_names)[self.indices]
        return names

    @property
    def scores(self) -> np.ndarray:
        """The probability of that class, float32 [N].

        >>> Classification(np.array([[0.25, 0.75], [1, 0]], "f4"), ("bag", "boot")).scores.tolist()
        [0.75, 1.0]
        """
        best: np.ndarray = self.probabilities[np.arange(len(self)), self.indices]
        return best

    def top(self, k: int = 5) -> Top:
        """The `k` best classes of each image, or all classes if there are fewer.

        >>> labels, scores = Classification(np.array([[0.25, 0.75]], "f4"), ("bag", "boot")).top(2)
        >>> labels.tolist(), scores.tolist()
        ([['boot', 'bag']], [[0.75, 0.25]])
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, : _count(k)]
        return Top(np.array(self.class_names)[order], np.take_along_axis(self.probabilities, order, axis=1))

    def above(self, threshold: float) -> list[list[str]]:
        """The labels of each image whose probability is above `threshold` (0..1), for multi-label models.

        >>> Classification(np.array([[0.9, 0.8, 0.1]], "f4"), ("sun", "sea", "snow"), independent=True).above(0.5)
        [['sun', 'sea']]
        """
        return [[self.class_names[index] for index in np.flatnonzero(row > threshold)] for row in self.probabilities]

    def __len__(self) -> int:
        return len(self.probabilities)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Sequence[bool] | np.ndarray) -> Classification: ...

    def __getitem__(
        self, index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray
    ) -> Prediction | Classification:
        if not isinstance(index, int | np.integer):
            chosen = np.arange(len(self))[index]
            thumbnails = [self._thumbnails[place] for place in chosen[:SHOWN] if place < len(self._thumbnails)]
            return Classification(
                self.probabilities[index],
                self.class_names,
                model_version=self.model_version,
                thumbnails=thumbnails if len(thumbnails) == len(chosen[:SHOWN]) else (),
                independent=self.independent,
            )
        row, best = self.probabilities[index], int(self.indices[index])
        return Prediction(self.class_names[best], float(row[best]), row, self.class_names)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[index] for index in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, ready for json.

        >>> Classification(np.array([[0.25, 0.75]], "f4"), ("bag", "boot")).to_dict()["labels"]
        ['boot']
        """
        return {
            "labels": self.labels.tolist(),
            "scores": self.scores.tolist(),
            "probabilities": self.probabilities.tolist(),
            "class_names": list(self.class_names),
            "model_version": self.model_version,
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.label!r} {row.score:.1%}" for row in self[:3])
        more = f", … {len(self) - 3} more" if len(self) > 3 else ""
        version = "" if self.model_version is None else f" by version {self.model_version}"
        return f"<Classification of {len(self)} images{version}: {shown}{more}>"

    def _repr_html_(self) -> str:
        """A table for notebooks: the first twenty images, each with its name and the bars of its best classes."""
        from html import escape  # here, because its table of entities is large

        lines = []
        for number, row in enumerate(self[:SHOWN]):
            address = data_uri(self._thumbnails[number]) if number < len(self._thumbnails) else ""
            picture = f'<img src="{address}" style="height:3em;image-rendering:pixelated">' if address else ""
            bars = "".join(_bar(label, score) for label, score in row.top(3))
            lines.append(f"<tr><td>{number}</td><td>{picture}</td><td>{escape(row.label)}</td><td>{bars}</td></tr>")
        more = f"<p>… {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f"<table><tr><th></th><th></th><th>class</th><th>best</th></tr>{''.join(lines)}</table>{more}"


def _bar(label: str, score: float) -> str:
    from html import escape

    width = 8 * min(max(score, 0.0), 1.0)  # em
    return (
        f'<div style="white-space:nowrap;text-align:left"><span style="display:inline-block;background:#4c78a8;'
        f'height:.7em;width:{width:.2f}em"></span> {escape(label)} {score:.1%}</div>'
    )


# ---- small pictures, without an imaging library


def data_uri(image: Any) -> str:
    """A uint8 or float image, or a PNG or JPEG file, as a `data:` URL; "" if it cannot be shown."""
    if isinstance(image, bytes):
        if len(image) > _LARGEST_FILE:
            return ""
        kind, file = ("png" if image.startswith(b"\x89PNG") else "jpeg"), image
    else:
        pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] != 3) or not pixels.size:
            return ""
        if pixels.nbytes > 8 * _LARGEST_FILE:
            return ""
        kind, file = "png", png(_as_bytes(pixels))
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8. Floats are scaled from their minimum to their maximum, because their range is unknown."""
    if pixels.dtype == np.uint8:
        return pixels
    numbers = np.nan_to_num(pixels.astype(np.float64))
    low, high = numbers.min(), numbers.max()
    scaled: np.ndarray = (numbers - low) * (255 / (high - low or 1))
    return scaled.astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    r"""uint8 [H, W] or [H, W, 3] as a PNG file. Source: https://www.w3.org/TR/png-3/.

    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    lines = np.zeros((height, 1 + width * (3 if colour else 1)), np.uint8)  # each line begins with its filter, 0: none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
