"""Reads a caller's images into one of two kinds of batch: pixels, or encoded PNG and JPEG files.

This module does not know the model; `core/validation.py` checks the batch against the model's signatures.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidInput, MissingExtra
from .files import MAX_IMAGE_BYTES, read_file, why_unreadable
from .header import JPEG, PNG, read_header
from .pillow import as_png, open_image

MAGIC = (PNG, JPEG)

CONVERTED = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"RIFF": "WebP"}
"""The first bytes of the formats that Pillow converts to PNG."""

_CMYK = 4  # channels
_LONGEST_NAME = 200  # characters of a path in an error


class Pixels(NamedTuple):
    """An array of any dtype ([N, …] or a single image), or a list of single images, whose shapes may differ."""

    data: np.ndarray | list[np.ndarray]


class Encoded(NamedTuple):
    """The contents of PNG or JPEG files."""

    files: list[bytes]

    def as_array(self) -> np.ndarray:
        """The files as a string tensor [N]."""
        array = np.empty(len(self.files), object)
        array[:] = self.files
        return array


def read(images: Any) -> Pixels | Encoded:
    """Read an array, the bytes of an image file, a path, a PIL image, or a sequence of one of these kinds."""
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
            f"cannot read images from {type(images).__name__}: give an array, the bytes of an image file, a path, "
            "a PIL image, or a list of these"
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
    """`array` as np.ndarray, if it is of a subclass such as np.memmap. Raises InvalidInput for a masked array."""
    masked = sys.modules.get("numpy.ma")  # imported by any caller that has a masked array
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise InvalidInput(
            "a masked array cannot be sent: fill in its masked values, for instance with array.filled(0)"
        )
    return np.asarray(array)


# ---- files


def _is_file(item: Any) -> bool:
    return isinstance(item, str | PathLike | bytes | bytearray | memoryview) or _is_pil(item)


def _is_pil(item: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # imported by any caller that has a PIL image
    return pil is not None and isinstance(item, pil.Image)


def _kind(item: Any) -> str:
    if isinstance(item, str | PathLike):
        return "a path"
    return f"of type {type(item).__name__}"


def _read(item: Any, index: int | None) -> bytes:
    """One PNG or JPEG file, upright, grey or RGB. Other formats and CMYK files are converted to PNG."""
    name = "the image" if index is None else f"image {index}"
    if _is_pil(item):
        return as_png(item, name)
    if isinstance(item, str | PathLike):
        name = shortened(str(item))
        try:
            data = read_file(item, MAX_IMAGE_BYTES)
        except (OSError, ValueError) as error:  # ValueError: the name is not allowed
            raise InvalidInput(f"cannot read {name}: {why_unreadable(error)}{_advice(str(item))}") from error
        if len(data) > MAX_IMAGE_BYTES:
            raise InvalidInput(f"{name} is too large for an image: it has more than {MAX_IMAGE_BYTES // 1_000_000} MB")
    else:
        data = bytes(item)
    if data.startswith(MAGIC):
        header = read_header(data)
        if header is not None and header.orientation != 1:
            return _converted(data, name, "turning photographs upright", "is stored sideways")
        if header is not None and header.channels == _CMYK:
            return _converted(data, name, "reading CMYK files", "has CMYK colours")
        return data
    kind = next((kind for magic, kind in CONVERTED.items() if data.startswith(magic)), None)
    if kind is None or (kind == "WebP" and data[8:12] != b"WEBP"):
        raise InvalidInput(f"{name} is neither PNG nor JPEG, nor WebP, GIF, BMP or TIFF")
    return as_png(open_image(data, name, f"{kind} files"), name)


def shortened(name: str) -> str:
    """A path for an error message. A caller may have passed an image's content as text, which can be megabytes."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:80]}…{name[-20:]}"


def _advice(text: str) -> str:
    """A hint for text that looks like base64 instead of a path."""
    if text.startswith("data:"):
        return "; of a data URL give base64.b64decode(text.partition(',')[2])"
    return "; of base64 text give base64.b64decode(text)" if len(text) > _LONGEST_NAME else ""


def _converted(data: bytes, name: str, what: str, fault: str) -> bytes:
    """`data` as PNG, because TensorFlow's decoders ignore the Exif orientation and cannot make a CMYK file grey.

    Without Pillow it warns and returns `data` unchanged.
    """
    try:
        opened = open_image(data, name, what)
    except MissingExtra as error:
        warnings.warn(f"{name} {fault} and is sent unchanged: {error}", stacklevel=2)
        return data
    return as_png(opened, name)
