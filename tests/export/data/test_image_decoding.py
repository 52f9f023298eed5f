"""Image files in the graph: what claims to be very large is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hangtag.optional import require
from hangtag_export.data import image_decoding


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), 90, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG file of a few bytes with this size in its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    content = encoded("JPEG")
    start = content.index(b"\xff\xc0") + 5  # the frame header: length, precision, height, width
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


def gif(width: int, height: int) -> bytes:
    content = encoded("GIF")
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


@pytest.mark.parametrize("file", [png(22000, 22000), png(2**31 - 1, 2**31 - 1), jpeg(22000, 22000), gif(65535, 65535)])
@pytest.mark.parametrize("in_graph", [True, False])
def test_a_header_of_more_than_50_megapixels_is_refused(file, in_graph):
    tf = require("tensorflow", extra="export", what="the test")
    decode = lambda content: image_decoding.decode(content, (4, 4, 3))  # noqa: E731
    if in_graph:
        decode = tf.function(decode, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of more than 50 megapixels is not decoded"):
        decode(tf.constant(file))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_files_of_usual_size_are_decoded_and_resized(kind):
    pixels = image_decoding.decode(encoded(kind), (4, 6, 3)).numpy()
    assert pixels.shape == (4, 6, 3)
    assert abs(pixels.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF8", b"\xff\xd8\xff", b"text"])
def test_what_is_too_short_for_a_header_is_an_error_of_the_decoder(content):
    tf = require("tensorflow", extra="export", what="the test")
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        image_decoding.decode(tf.constant(content), (4, 4, 3))
    assert "megapixels" not in str(error.value)
