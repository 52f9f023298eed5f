"""From a caller's images to one of two kinds of batch: pixels, or encoded PNG and JPEG files.

Nothing here knows the model; `validation` checks the batch against the model's signatures.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidInput
from ..optional import require
from ..photo import prepared

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


class Pixels(NamedTuple):
    """An array of any dtype, [N, …] or a single image, or a list of single images that may yet differ in shape."""

    data: np.ndarray | list[np.ndarray]


class Encoded(NamedTuple):
    """PNG or JPEG files, byte for byte."""

    files: list[bytes]

    def as_array(self) -> np.ndarray:
        """The files as a string tensor [N]."""
        array = np.empty(len(self.files), object)
        array[:] = self.files
        return array


def read(images: Any, prepare: str | None = None) -> Pixels | Encoded:
    """Take an array, PNG or JPEG bytes, a path, a PIL image, or a sequence of one kind of these."""
    if prepare is not None:
        images = prepared(images, prepare)
    if type(images) is np.ndarray and images.ndim and images.dtype.kind not in "OSU":  # the usual case, first
        return Pixels(images)
    if isinstance(images, np.ndarray) and not images.ndim:
        raise InvalidInput("cannot read images from an array of one value without a dimension")
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OSU":
        return Pixels(plain(images))
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
        return Pixels([plain(item) for item in items])
    try:
        array = np.asarray(items)
    except ValueError as error:
        raise InvalidInput(f"the lists of numbers do not make one array: {error}") from error
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"cannot read images from a list that begins with {type(items[0]).__name__}")
    return Pixels(array)


def plain(array: np.ndarray) -> np.ndarray:
    """The array that a subclass such as np.memmap is; a masked one is refused, for what lies under its mask."""
    masked = sys.modules.get("numpy.ma")  # who has a masked array has loaded it
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise InvalidInput("a masked array cannot be sent: say what lies under its mask, for instance array.filled(0)")
    return np.asarray(array)


def _is_file(item: Any) -> bool:
    return isinstance(item, str | Path | bytes | bytearray | memoryview) or _is_pil(item)


def _is_pil(item: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # who has a PIL image has loaded PIL
    return pil is not None and isinstance(item, pil.Image)


def _kind(item: Any) -> str:
    if isinstance(item, str | Path):
        return "a path"
    return f"of type {type(item).__name__}"


def _read(item: Any, index: int | None) -> bytes:
    """The bytes of one file, after a look at their first few."""
    name = "the image" if index is None else f"image {index}"
    if _is_pil(item):
        return _encode_pil(item, name)
    if isinstance(item, str | Path):
        name = str(item)
        try:
            data = Path(item).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: no file can have this name
            raise InvalidInput(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    else:
        data = bytes(item)
    if not data.startswith(MAGIC):
        raise InvalidInput(f"{name} is neither PNG nor JPEG")
    return data


def _encode_pil(image: Any, name: str) -> bytes:
    """A PIL image as a PNG: lossless, so the model sees the very pixels, and sized and greyed as in training."""
    buffer = io.BytesIO()
    try:
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = image.convert("RGB")
        image.save(buffer, "PNG", compress_level=1)
    except Exception as error:  # no pixels, or a file read only now; Pillow has no common class for what that raises
        raise InvalidInput(f"{name} cannot be written as PNG: {error}") from error
    return buffer.getvalue()


def decode(files: list[bytes], row: tuple[int | None, ...] | None) -> list[np.ndarray]:
    """The files as uint8 arrays [H, W] or [H, W, 3], for a model that has no signature for files.

    Greyed or made RGB and resized (bilinear, antialiased) to what `row`, the shape of one image, asks for.
    """
    pillow = require("PIL.Image", extra="images", what="decoding image files for a model that takes only arrays")
    grey = row is None or len(row) < 3 or row[-1] == 1
    arrays = []
    for index, file in enumerate(files):
        try:
            with pillow.open(io.BytesIO(file), formats=("PNG", "JPEG")) as opened:
                image = opened.convert("L" if grey else "RGB")
        except Exception as error:  # Pillow has no common class for what a broken file may raise
            raise InvalidInput(f"image {index} cannot be decoded: {error}") from error
        if row is not None and len(row) >= 2 and row[0] and row[1] and image.size != (row[1], row[0]):
            image = image.resize((row[1], row[0]), pillow.Resampling.BILINEAR)
        array = np.asarray(image)
        arrays.append(array[..., np.newaxis] if row is not None and len(row) == 3 and grey else array)
    return arrays
