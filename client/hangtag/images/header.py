"""Size and orientation of PNG and JPEG files, read from their first bytes without an imaging library.

Sources: https://www.w3.org/TR/png-3/, ITU-T T.81 (JPEG), CIPA DC-008 (Exif).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

_ORIENTATION = 0x0112
_SHORT = 3
_MOST_TAGS = 1000
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the "start of frame" markers
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_PIXELS = 0xDA  # "start of scan": what follows is compressed


class Header(NamedTuple):
    """The stored size in pixels, and the Exif orientation: 1 is upright, 2 to 8 must be turned or mirrored.

    `channels` is the number of a JPEG file's channels (4 for CMYK), and 0 for PNG.
    """

    width: int
    height: int
    orientation: int
    channels: int = 0


def read_header(file: bytes) -> Header | None:
    """The header of a PNG or JPEG file; None for other files and for damaged headers.

    >>> read_header(b"no image") is None
    True
    """
    try:
        if file.startswith(PNG):
            width, height = struct.unpack_from(">II", file, 16)
            return Header(width, height, _png_orientation(file))
        if file.startswith(JPEG):
            return _jpeg_header(file)
    except (struct.error, IndexError):
        pass
    return None


def _png_orientation(file: bytes) -> int:
    if b"eXIf" not in file:
        return 1
    position = len(PNG)
    while position < len(file):
        size, name = struct.unpack_from(">I4s", file, position)
        if name == b"eXIf":
            return _orientation(file[position + 8 : position + 8 + size])
        position += 12 + size
    return 1


def _jpeg_header(file: bytes) -> Header | None:
    orientation, position = 1, 2
    while True:
        while file[position] == 0xFF:  # any number of fill bytes may precede a marker
            position += 1
        marker, position = file[position], position + 1
        if marker in _ALONE:
            continue
        (size,) = struct.unpack_from(">H", file, position)
        if marker in _SIZES:
            height, width, channels = struct.unpack_from(">HHB", file, position + 3)
            return Header(width, height, orientation, channels)
        if marker == _PIXELS or size < 2:
            return None
        if marker == 0xE1 and file.startswith(b"Exif\0\0", position + 2):
            orientation = _orientation(file[position + 8 : position + size])
        position += size


def _orientation(exif: bytes) -> int:
    """The orientation in an Exif block, which has the format of a TIFF file; 1 if it has none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for number in range(min(count, _MOST_TAGS)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
