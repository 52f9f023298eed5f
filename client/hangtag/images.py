"""From what callers hand in to one of two kinds of batch: pixels, or encoded PNG and JPEG files.

Nothing here knows the model; `plan` holds the batch against the model's signatures.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InvalidInput

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True, slots=True)
class Pixels:
    """An array of any dtype, [N, …] or a single image, or a list of single images that may yet differ in shape."""

    data: np.ndarray | list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Encoded:
    """PNG or JPEG files, byte for byte."""

    files: list[bytes]

    def as_array(self) -> np.ndarray:
        """The files as a string tensor [N]."""
        array = np.empty(len(self.files), object)
        array[:] = self.files
        return array


def collect(images: Any) -> Pixels | Encoded:
    """Take an array, PNG or JPEG bytes, a path, a PIL image, or a sequence of one kind of these."""
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OSU":
        return Pixels(images)
    if _is_file(images):
        return Encoded([_read(images, None)])
    if not isinstance(images, Sequence | np.ndarray):
        raise InvalidInput(
            f"cannot read images from {type(images).__name__}: give an array, PNG or JPEG bytes, a path, a PIL image, "
            "or a list of these"
        )
    items = list(images)
    encoded = [_is_file(item) for item in items]
    if items and all(encoded):
        return Encoded([_read(item, index) for index, item in enumerate(items)])
    if any(encoded):
        index = encoded.index(not encoded[0])
        raise InvalidInput(f"image {index} is {_kind(items[index])} and image 0 is {_kind(items[0])}: send one kind")
    return _pixels(items)


def _pixels(items: list[Any]) -> Pixels:
    if items and all(isinstance(item, np.ndarray) for item in items):
        return Pixels(items)
    try:
        array = np.asarray(items)
    except ValueError as error:
        raise InvalidInput(f"the lists of numbers do not make one array: {error}") from error
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"cannot read images from a list of {_kind(items[0])}")
    return Pixels(array)


def _is_file(item: Any) -> bool:
    return isinstance(item, str | Path | bytes | bytearray | memoryview) or _is_pil(item)


def _is_pil(item: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # whoever holds a PIL image has loaded PIL
    return pil is not None and isinstance(item, pil.Image)


def _kind(item: Any) -> str:
    if isinstance(item, str | Path):
        return "a path"
    return f"of type {type(item).__name__}"


def _read(item: Any, index: int | None) -> bytes:
    """The bytes of one file, after a look at their first few."""
    if _is_pil(item):
        return _encode_pil(item)
    if isinstance(item, str | Path):
        try:
            data = Path(item).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read {item}: {error.strerror}") from error
        name = str(item)
    else:
        data, name = bytes(item), "the image" if index is None else f"image {index}"
    if not data.startswith(_MAGIC):
        raise InvalidInput(f"{name} is neither PNG nor JPEG")
    return data


def _encode_pil(image: Any) -> bytes:
    """A PIL image as a PNG: lossless, so the model sees the very pixels, and sized and greyed as in training."""
    buffer = io.BytesIO()
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
