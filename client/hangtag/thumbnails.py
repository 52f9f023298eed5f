"""Small pictures in a notebook's table, without an imaging library."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

SHOWN = 20
"""Images of a result that are kept for its table."""

_LARGEST_FILE = 100_000  # bytes: a notebook keeps its output, and twenty photographs would be megabytes


def keep(images: np.ndarray) -> np.ndarray:
    """A copy of the first few images: a view would keep the caller's whole array in memory."""
    return images[:SHOWN].copy()


def data_uri(image: Any) -> str:
    """An image, a uint8 or float array or a PNG or JPEG file, as a `data:` address; "" for one that cannot be shown."""
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
    """Floats from their own darkest to their brightest, for their range is the model's affair."""
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
