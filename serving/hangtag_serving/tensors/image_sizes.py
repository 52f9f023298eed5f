"""Reads the size of an encoded image from its header, before TensorFlow decodes the image.

A JPEG of 600 bytes can claim 22,000 x 22,000 pixels, and the decoder would allocate and fill all of them.
Sources: ITU-T T.81 (JPEG), the PNG specification, GIF89a, tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

from hangtag.protocol import protobuf
from hangtag.protocol.protobuf import WireError

from ..limits import Budget

_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
_NOT_FRAMES = frozenset((0xC4, 0xC8, 0xCC))  # other markers in the range of frame headers
_WITHOUT_SIZE = frozenset((0x01, *range(0xD0, 0xD9)))
_FEATURES = b"\x0a"  # the tag of the first field in a serialized tf.Example


def check_images(strings: Iterable[bytes], budget: Budget) -> None:
    """Count the pixels of all images among the strings, and of images in tf.Examples.

    Raises ServingError if there are too many.
    """
    for content in strings:
        if content[:1] in (b"\x89", b"\xff", b"G"):
            size = image_size(content)
            if size is not None:
                budget.take_image(*size, len(content))
        elif content[:1] == _FEATURES:
            with suppress(WireError):  # not an Example; TensorFlow will refuse it
                check_images(_strings_of_example(content), budget)


def _strings_of_example(content: bytes) -> Iterator[bytes]:
    """The values of an Example's bytes features."""
    for features in _blocks(memoryview(content), 1):
        for entry in _blocks(features, 1):
            for feature in _blocks(entry, 2):
                for values in _blocks(feature, 1):
                    for value in _blocks(values, 1):
                        if bytes(value[:1]) != _FEATURES:  # an Example within an Example is not decoded
                            yield bytes(value)


def _blocks(message: memoryview, number: int) -> Iterator[memoryview]:
    """The contents of a length-delimited field, for each time that it occurs in a message."""
    for field, _, value in protobuf.fields(message):
        if field == number and not isinstance(value, int):
            yield value


def image_size(content: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a PNG, JPEG or GIF file; None for other content.

    The height of a GIF is that of all its frames together, because all of them are decoded.

    >>> image_size(b"GIF89a" + bytes((2, 0, 3, 0)))
    (2, 3)
    """
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return width, height
        if content.startswith(_GIF):
            return _gif_size(content)
        return _jpeg_size(content) if content.startswith(_JPEG) else None
    except struct.error:  # the header is cut off; the decoder will refuse the file
        return None


def _gif_size(content: bytes) -> tuple[int, int]:
    """The size of all frames, or that of the screen if it is larger."""
    width, height = struct.unpack_from("<HH", content, 6)
    widest = highest = frames = 0
    with suppress(struct.error, IndexError):  # the file is cut off; its complete frames count
        position = 13 + _color_table_bytes(content[10])
        while content[position] != 0x3B:  # the trailer
            if content[position] == 0x2C:
                frame_width, frame_height, flags = struct.unpack_from("<HHB", content, position + 5)
                widest, highest, frames = max(widest, frame_width), max(highest, frame_height), frames + 1
                position += 11 + _color_table_bytes(flags)
            else:  # an extension
                position += 2
            while content[position]:  # blocks of data, each after its size
                position += 1 + content[position]
            position += 1
    return max(width, widest), max(height, highest * frames)


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The size in the first frame header. Segments before it, such as thumbnails, are skipped."""
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
