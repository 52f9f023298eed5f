"""Everything that needs Pillow: image files opened, turned upright, with 8 bits per channel, as PNG and as arrays.

Training, playground and plots use it too. The functions import Pillow, not the module: callers without Pillow may
import it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..optional import require
from .pixels import Layout


def upright(image: Any) -> Any:
    """The image rotated by its Exif data. If they are damaged, it stays unchanged, as in image viewers."""
    from PIL import ImageOps

    image.load()  # outside the try: damaged pixels are an error, damaged Exif data are not
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow has no common class for what damaged Exif data may raise
        return image


def eight_bits(image: Any) -> Any:
    """An image of 8 bits per channel: Pillow's own `convert` would cut off values above 255.

    16-bit values are divided by 257. Floating-point values are multiplied by 255 if none is above 1.
    """
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, which Pillow may store in 32
        return Image.fromarray((np.asarray(image).clip(0, 65_535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max(initial=0) <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    return image.convert("RGB") if image.mode == "LAB" else image  # Pillow cannot convert LAB directly to grey


# ---- image files


def open_image(data: bytes, name: str, what: str) -> Any:
    """A PIL image from the bytes of a file. Errors call it `name`; `what` is what needs Pillow."""
    pillow = require("PIL.Image", extra="images", what=what)
    try:
        return pillow.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"))
    except Exception as error:  # Pillow has no common class for what a broken file may raise
        raise InvalidInput(f"{name} cannot be decoded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    unidentified = type(error).__name__ == "UnidentifiedImageError"  # its message has the address of a BytesIO
    return "it is damaged" if unidentified else str(error)


def as_png(image: Any, name: str) -> bytes:
    """A PIL image as an upright PNG file. PNG is lossless, so the model gets exactly these pixels."""
    buffer = io.BytesIO()
    try:
        image = upright(image)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = eight_bits(image).convert("RGB")
        image.info.pop("exif", None)
        image.save(buffer, "PNG", compress_level=1)
    except Exception as error:  # Pillow reads some files only here, and its errors have no common class
        raise InvalidInput(f"{name} cannot be written as PNG: {_reason(error)}") from error
    return buffer.getvalue()


def decode(files: list[bytes], layout: Layout | None) -> list[np.ndarray]:
    """The files of a batch as uint8 arrays [H, W] or [H, W, 3], for a model that has no signature for files.

    They are converted to the channels and size of `layout` (bilinear, antialiased); without a layout, to grey.
    """
    what = "decoding image files for a model that takes only arrays"
    pillow = require("PIL.Image", extra="images", what=what)
    mode = "RGB" if layout is not None and layout.channels == 3 else "L"
    arrays = []
    for index, file in enumerate(files):
        opened = open_image(file, f"image {index}", what)
        try:
            image = eight_bits(opened).convert(mode)
        except Exception as error:  # Pillow has no common class for what a broken file may raise
            raise InvalidInput(f"image {index} cannot be decoded: {_reason(error)}") from error
        if layout is not None and layout.height and layout.width and image.size != (layout.width, layout.height):
            image = image.resize((layout.width, layout.height), pillow.Resampling.BILINEAR)
        arrays.append(np.asarray(image))
    return arrays
