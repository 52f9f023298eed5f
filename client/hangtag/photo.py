"""Converts a product photograph to a picture like those of Fashion-MNIST.

The steps are those of Xiao, Rasul and Vollgraf, arXiv:1708.07747, section 2 and figure 1: trim the background, which is
coloured like the corners; shrink the longest edge to 28 pixels; sharpen; extend the shortest edge to 28 with the
article in the centre; negate; convert to grey. One step differs: the paper shrinks by skipping rows and columns, and
this module averages them, so that no detail disappears. It is made for photographs of one article on a plain bright
background, as in a shop's catalogue.
"""

from __future__ import annotations

import io
from os import PathLike
from typing import Any

import numpy as np

from .errors import InvalidInput
from .images.files import MAX_IMAGE_BYTES, read_file, why_unreadable
from .images.pillow import eight_bits, upright
from .optional import require

SIDE = 28
"""The width and height of a Fashion-MNIST picture in pixels."""

_NEAR = int(0.05 * 255)  # the paper: within 5 % of the maximum intensity of the corner's colour


def prepared(images: Any, prepare: str | None) -> Any:
    """`images` unchanged, or, with ``"photo"``, uint8 [N, 28, 28] made from photographs."""
    if prepare is None:
        return images
    if prepare != "photo":
        raise InvalidInput(f"prepare={prepare!r} is not known: 'photo' is the only preparation")
    if isinstance(images, np.ndarray) and (images.ndim == 4 or (images.ndim == 3 and images.shape[-1] not in (3, 4))):
        images = list(images)  # [N, H, W, 3] or [N, H, W]
    if not isinstance(images, list | tuple):
        return _prepared(images, "the photograph")[np.newaxis]
    items = [_prepared(item, f"photograph {index}") for index, item in enumerate(images)]
    return np.stack(items) if items else np.empty((0, SIDE, SIDE), np.uint8)


def prepare_photo(photo: Any) -> np.ndarray:
    """One photograph as uint8 [28, 28], with the article bright on black.

    `photo`: a path, the bytes of an image file, a PIL image, or a uint8 array [H, W] or [H, W, 3].

    >>> shirt = np.full((400, 300, 3), 255, np.uint8)
    >>> shirt[100:300, 100:200] = (200, 30, 30)  # red on white, twice as high as wide
    >>> picture = prepare_photo(shirt)
    >>> picture.shape, int(picture[:, 0].max()), np.flatnonzero(picture[14]).size
    ((28, 28), 0, 14)
    """
    return _prepared(photo, "the photograph")


def _prepared(photo: Any, name: str) -> np.ndarray:
    pillow = require("PIL.Image", extra="images", what="prepare='photo'")
    filters = require("PIL.ImageFilter", extra="images", what="prepare='photo'")
    image = _trimmed(_opened(photo, pillow, name))
    scale = SIDE / max(image.size)
    size = [max(1, round(edge * scale)) for edge in image.size]
    image = image.resize(size, pillow.Resampling.BOX if scale < 1 else pillow.Resampling.BILINEAR)
    image = image.filter(filters.UnsharpMask(radius=1, percent=100, threshold=0))
    square = pillow.new("RGB", (SIDE, SIDE), "white")
    square.paste(image, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return 255 - np.asarray(square.convert("L"))


def _opened(photo: Any, pillow: Any, name: str) -> Any:
    """An upright RGB image, with white for transparent parts."""
    try:
        if isinstance(photo, pillow.Image):
            image = photo
        elif isinstance(photo, np.ndarray):
            image = pillow.fromarray(photo)
        else:
            if isinstance(photo, str | PathLike):
                name = str(photo)
                photo = read_file(photo, MAX_IMAGE_BYTES)
            image = pillow.open(io.BytesIO(photo))
        image = eight_bits(upright(image))
        clear = image.mode.upper() in ("LA", "PA", "RGBA") or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    except Exception as error:  # Pillow has no common class for what a broken file may raise
        # The text of UnidentifiedImageError has the address of a BytesIO.
        unknown = isinstance(error, pillow.UnidentifiedImageError)
        reason = "it is no image file that Pillow knows" if unknown else why_unreadable(error)
        raise InvalidInput(f"cannot read {name}: {reason}") from error
    if 0 in image.size:
        raise InvalidInput(f"cannot read {name}: it has no pixels")
    if not clear:
        return image
    white = pillow.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def _trimmed(image: Any) -> Any:
    """Cut off the edges whose colour is close to the corners' colour; an image of one colour stays whole."""
    pixels = np.asarray(image)
    far = np.ones(pixels.shape[:2], bool)
    for corner in np.unique(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0):  # one at a time, to save memory
        far &= (np.maximum(pixels, corner) - np.minimum(pixels, corner) > _NEAR).any(axis=-1)
    rows, columns = np.flatnonzero(far.any(axis=1)), np.flatnonzero(far.any(axis=0))
    if not rows.size:
        return image
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
