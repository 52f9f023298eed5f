"""How much memory and work one request may cost, counted before anything is expanded.

The C++ server has none of these limits: 44 bytes sent to it can fill its memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .errors import invalid

MAX_FILLED_BYTES = 4 << 20
"""A tensor with fewer values than its shape has elements repeats the last one. This bounds what repeating may make."""

_PIXELS_PER_BYTE = 256
"""More than any complete JPEG holds; a PNG of one colour may hold more, and is then counted against the allowance."""

STRING_BYTES = 64
"""That a string takes in memory besides its own bytes."""


@dataclass(frozen=True)
class Limits:
    """`tensor_bytes`: what the arrays of a request and its response, and what is made on the way, may take in memory.

    `image_pixels`: the largest encoded image, and the pixels that a request may claim beyond 256 for each byte it has.
    """

    tensor_bytes: int = 512 << 20
    image_pixels: int = 50_000_000


DEFAULT = Limits()


class Budget:
    """What is left of the limits of one request."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._bytes = limits.tensor_bytes
        self._pixels = limits.image_pixels

    def take(self, size: int) -> None:
        """Count `size` bytes; raises ServingError if that is more than is left."""
        self._bytes -= size
        if self._bytes < 0:
            raise invalid(
                f"The request takes more than --max_tensor_bytes={self._limits.tensor_bytes} bytes of memory: send "
                "fewer rows at once"
            )

    def take_image(self, width: int, height: int, size: int) -> None:
        """Count the pixels of an encoded image of `size` bytes; raises ServingError if they are too many."""
        pixels = width * height
        self._pixels -= max(pixels - _PIXELS_PER_BYTE * size, 0)
        if pixels > self._limits.image_pixels or self._pixels < 0:
            raise invalid(
                f"An image says that it has {width} x {height} pixels, more than --max_image_pixels="
                f"{self._limits.image_pixels} or than its {size} bytes can hold"
            )


def bytes_of(arrays: Iterable[np.ndarray]) -> int:
    """What arrays take in memory, strings included."""
    total = 0
    for array in arrays:
        if array.dtype.hasobject:
            total += sum(map(len, array.ravel().tolist())) + array.size * STRING_BYTES
        else:
            total += array.nbytes
    return total
