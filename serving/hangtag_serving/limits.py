"""The memory and work that one request may cost, counted before anything is expanded.

The C++ server has none of these limits: a request of 44 bytes can fill its memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .errors import invalid

MAX_FILLED_BYTES = 4 << 20
"""The limit for repeated values: a tensor with fewer values than elements repeats its last value."""

_PIXELS_PER_BYTE = 256
"""Pixels that each byte of an image file may have. A complete JPEG has fewer; a PNG of one colour may have more, and
then its other pixels count against the limit of the request."""

STRING_BYTES = 64
"""Memory that a string takes besides its own bytes."""


@dataclass(frozen=True)
class Limits:
    """The limits of one request.

    `tensor_bytes`: memory for the arrays of the request and its response, and for intermediate objects. `image_pixels`:
    pixels of the largest encoded image, and of all images together beyond 256 for each of their bytes.
    """

    tensor_bytes: int = 512 << 20
    image_pixels: int = 50_000_000


DEFAULT = Limits()


class Budget:
    """The remaining limits of one request."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._bytes = limits.tensor_bytes
        self._pixels = limits.image_pixels

    def take(self, size: int) -> None:
        """Count `size` bytes; raises ServingError beyond the limit."""
        self._bytes -= size
        if self._bytes < 0:
            raise invalid(
                f"The request takes more than --max_tensor_bytes={self._limits.tensor_bytes} bytes of memory: send "
                "fewer rows at once"
            )

    def take_image(self, width: int, height: int, size: int) -> None:
        """Count the pixels of an encoded image of `size` bytes; raises ServingError beyond the limit."""
        pixels = width * height
        self._pixels -= max(pixels - _PIXELS_PER_BYTE * size, 0)
        if pixels > self._limits.image_pixels or self._pixels < 0:
            raise invalid(
                f"An image says that it has {width} x {height} pixels, more than --max_image_pixels="
                f"{self._limits.image_pixels} or than its {size} bytes can hold"
            )


def bytes_of(arrays: Iterable[np.ndarray]) -> int:
    """The memory of arrays, including their strings."""
    total = 0
    for array in arrays:
        if array.dtype.hasobject:
            total += sum(map(len, array.ravel().tolist())) + array.size * STRING_BYTES
        else:
            total += array.nbytes
    return total
