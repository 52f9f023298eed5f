"""How large an encoded image says it is, read from its header before TensorFlow decodes it.

A JPEG of 600 bytes can claim 22,000 x 22,000 pixels, and the decoder allocates and fills them all.
Sources: ITU-T T.81 (JPEG), the PNG specification, GIF89a.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .limits import Budget

_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
_NOT_FRAMES = frozenset((0xC4, 0xC8, 0xCC))  # in the range of the frame headers: tables, an extension, arithmetic
_WITHOUT_SIZE = frozenset((0x01, *range(0xD0, 0xD9)))


def check_images(strings: Iterable[bytes], budget: Budget) -> None:
    """Count the pixels of those strings that are images; raises ServingError if they are too many."""
    for content in strings:
        if content[:1] in (b"\x89", b"\xff", b"G"):
            size = image_size(content)
            if size is not None:
                budget.take_image(*size, len(content))


def image_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a PNG, JPEG or GIF names; None for anything else.

    >>> image_size(b"GIF89a" + bytes((2, 0, 3, 0)))
    (2, 3)
    """
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return width, height
        if content.startswith(_GIF):
            width, height = struct.unpack_from("<HH", content, 6)
            return width, height
        return _jpeg_size(content) if content.startswith(_JPEG) else None
    except struct.error:  # the header is cut off: the decoder will refuse it
        return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """From the first frame header; the segments before it, thumbnails among them, are skipped."""
    position = 2
    while True:
        position = content.find(b"\xff", position)
        if position < 0:
            return None
        (marker,) = struct.unpack_from("B", content, position + 1)
        if marker == 0xFF:  # fill bytes
            position += 1
        elif marker in _WITHOUT_SIZE or marker == 0:
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return width, height
        else:
            (size,) = struct.unpack_from(">H", content, position + 2)
            position += 2 + max(size, 2)
