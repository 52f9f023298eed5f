"""Decodes image files in TensorFlow's graph. The exported model and training on a folder use the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hangtag.optional import require

MAX_PIXELS = 50_000_000
"""The largest width times height of a file, by its header. Decoding takes three bytes per pixel."""


def decode(file: Any, shape: Sequence[int]) -> Any:
    """Decode one PNG or JPEG file to uint8 pixels of `shape`, grey or RGB, without alpha.

    A file whose header has more than `MAX_PIXELS` is an error before anything is decoded.
    """
    tf = require("tensorflow", extra="export", what="exporting")
    channels = shape[2] if len(shape) == 3 else 1
    message = f"an image file of more than {MAX_PIXELS // 1_000_000} megapixels is not decoded: send a smaller one"
    with tf.control_dependencies(
        [tf.debugging.assert_less_equal(_pixels(file), tf.constant(MAX_PIXELS, tf.int64), message)]
    ):
        file = tf.identity(file)
    return resize(tf.io.decode_image(file, channels=channels, expand_animations=False), shape)


def _pixels(file: Any) -> Any:
    """Width times height in the header of a JPEG, PNG or GIF file; 0 for other content.

    A BMP file is as large as its image, so it needs no limit.
    """
    tf = require("tensorflow", extra="export", what="exporting")
    # Pad short files with zeros. They have no complete header, and the decoder will report that.
    header = tf.strings.join([tf.strings.substr(file, 0, 24), b"\0" * 24])
    values = tf.cast(tf.io.decode_raw(tf.strings.substr(header, 0, 24), tf.uint8), tf.int64)

    def number(first: int, weights: Sequence[int]) -> Any:
        return tf.reduce_sum(values[first : first + len(weights)] * tf.constant(weights, tf.int64))

    def begins(magic: bytes) -> Any:
        return tf.equal(tf.strings.substr(header, 0, len(magic)), magic)

    def jpeg() -> Any:
        return tf.reduce_prod(tf.io.extract_jpeg_shape(file, output_type=tf.int64)[:2])

    def png_or_gif() -> Any:
        big_endian, little_endian = (1 << 24, 1 << 16, 1 << 8, 1), (1, 1 << 8)
        png = number(16, big_endian) * number(20, big_endian)
        gif = number(6, little_endian) * number(8, little_endian)
        is_png, is_gif = tf.cast(begins(b"\x89PNG\r\n\x1a\n"), tf.int64), tf.cast(begins(b"GIF8"), tf.int64)
        return is_png * png + is_gif * gif

    return tf.cond(begins(b"\xff\xd8\xff"), jpeg, png_or_gif)


def resize(image: Any, shape: Sequence[int]) -> Any:
    """Resize uint8 [H, W, C] to uint8 of `shape`, in the graph: bilinear, antialiased, ignoring the aspect ratio.

    An image of the right size is not changed.
    """
    tf = require("tensorflow", extra="export", what="exporting")
    image = tf.image.resize(image, shape[:2], method="bilinear", antialias=True)
    return tf.cast(tf.round(tf.reshape(image, shape)), tf.uint8)
