"""Pillow's images as training, the client, the playground and pictures all need them: upright, 8 bits a channel.

Nothing here imports Pillow before an image of Pillow's is passed in.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def upright(image: Any) -> Any:
    """The image turned as its Exif data say; as it is where these are damaged, as viewers show it."""
    from PIL import ImageOps

    image.load()  # so that damaged pixels are not taken for damaged Exif data
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow has no common class for what damaged Exif data may raise
        return image


def eight_bits(image: Any) -> Any:
    """An image that Pillow can make grey or RGB without loss of range: its own `convert` cuts off what is above 255.

    16-bit values are divided by 257. Floating-point values are multiplied by 255 if none is above 1.
    """
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, also where Pillow holds them in 32
        return Image.fromarray((np.asarray(image).clip(0, 65_535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max(initial=0) <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    return image.convert("RGB") if image.mode == "LAB" else image  # Pillow makes LAB grey only by way of RGB
