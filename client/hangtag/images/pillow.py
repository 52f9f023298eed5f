"""Makes Pillow's images upright, with 8 bits per channel. Training, client, playground and plots all use this.

The functions import Pillow, not the module: callers without Pillow may import it.
"""

from __future__ import annotations

from typing import Any

import numpy as np


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
