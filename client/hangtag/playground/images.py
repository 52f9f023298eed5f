"""Converts an uploaded file to the pixels that a model takes. All limits are checked before anything is decoded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InvalidInput
from ..images.pillow import eight_bits, upright
from ..photo import SIDE, prepare_photo

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
MAX_SIDE = 512  # the longest side in pixels for a model that takes images of any size
_DECODED_SIDE = 1600  # pixels; larger photographs are reduced before they are prepared

Row = tuple[int | None, ...]  # the shape of one image in the model's input, [H, W] or [H, W, channels]


def as_image(image: Image.Image | np.ndarray) -> Image.Image:
    """A PIL image that PNG can store, from a PIL image or uint8 [H, W], [H, W, 1] or [H, W, 3]."""
    if isinstance(image, Image.Image):
        return image.convert("RGB") if image.mode == "CMYK" else image  # PNG has no CMYK
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def read_upload(data: bytes) -> Image.Image:
    """An upright PIL image from the bytes of a PNG or JPEG file; raises InvalidInput."""
    try:
        # Only the header is read here. WebP is left out because Pillow allocates all of its pixels at once.
        image: Any = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        pixels = image.width * image.height
    except UnidentifiedImageError as error:
        raise InvalidInput("this file is neither PNG nor JPEG: choose an image in one of these formats") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pixels = MAX_PIXELS + 1
    except Exception as error:  # Pillow has no common class for what a broken file may raise
        raise InvalidInput(f"this image cannot be read: {error}") from error
    if not 0 < pixels <= MAX_PIXELS:
        raise InvalidInput(f"this image has more than {MAX_PIXELS:,} pixels: make it smaller first")
    try:
        image = eight_bits(upright(image)) if image.mode.startswith("I") else image  # other modes are reduced first
        image.draft("RGB", (_DECODED_SIDE, _DECODED_SIDE))  # decodes a large JPEG at a fraction of its size
        image.thumbnail((_DECODED_SIDE, _DECODED_SIDE))
        return as_image(upright(image))
    except Exception as error:
        raise InvalidInput(f"this image cannot be decoded: {error}") from error


def prepare(image: Image.Image | np.ndarray, row: Row, mode: str = "auto") -> tuple[np.ndarray, str]:
    """Convert a PIL image or a uint8 array to `row`; returns uint8 pixels, and "photo", "resized" or "unchanged".

    `mode` is "resize", "photo" (the steps of Fashion-MNIST: trim, shrink, invert) or "auto", which means "photo" for a
    picture with a bright or transparent background if the model takes 28 x 28 grey images, else "resize".
    """
    if mode not in ("auto", "resize", "photo"):
        raise InvalidInput(f"prepare={mode!r} is not known: use auto, resize or photo")
    image = as_image(image)
    grey = len(row) < 3 or row[-1] == 1
    if grey and row[:2] == (SIDE, SIDE) and (mode == "photo" or (mode == "auto" and _on_bright_ground(image))):
        return prepare_photo(image).reshape([SIDE, SIDE, 1][: len(row)]), "photo"
    if mode == "photo":
        raise InvalidInput("this preparation is for models that take 28 x 28 grey images: choose another")
    before = image.size
    image = image.convert("L" if grey else "RGB")
    if row[0] and row[1]:
        image = image.resize((row[1], row[0]), Image.Resampling.BILINEAR)
    else:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    pixels = np.asarray(image)[..., np.newaxis] if grey and len(row) == 3 else np.asarray(image)
    return pixels, "unchanged" if image.size == before else "resized"


def _on_bright_ground(image: Image.Image) -> bool:
    if image.size == (SIDE, SIDE):
        return False  # already in the format of Fashion-MNIST
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return True
    small = np.asarray(image.convert("L").resize((16, 16)))
    return bool(np.median(np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])) > 127)


def as_png(image: Image.Image | np.ndarray) -> bytes:
    """An image as a PNG file of at most MAX_SIDE pixels per side."""
    image = as_image(image)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
