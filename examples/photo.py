"""What `prepare="photo"` does, before and after, as one picture.

    python examples/photo.py docs/images/photo.png [PHOTO]

Without PHOTO a drawn T-shirt on a bright ground stands in for one.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hangtag.photo import prepare_photo

SHIRT = [
    (190, 70), (225, 92), (275, 92), (310, 70), (365, 95), (430, 190), (375, 232), (345, 195), (345, 430),
    (155, 430), (155, 195), (125, 232), (70, 190), (135, 95),
]  # fmt: skip


def drawn_shirt() -> Any:
    """A T-shirt, 500 pixels wide and 600 high, with the shadows that a camera would see."""
    light = np.linspace(1, 0.75, 500)[np.newaxis, :, np.newaxis] * np.ones((600, 1, 1))
    cloth = Image.fromarray((light * np.array([70, 110, 190])).astype(np.uint8))
    mask = Image.new("L", (500, 600))
    ImageDraw.Draw(mask).polygon(SHIRT, fill=255)
    photo = Image.new("RGB", (500, 600), (246, 246, 244))
    photo.paste(cloth, mask=mask.filter(ImageFilter.GaussianBlur(1)))
    folds = ImageDraw.Draw(photo)
    for x in (200, 250, 300):
        folds.line([(x, 210), (x - 12, 425)], fill=(50, 80, 150), width=4)
    return photo


def main() -> int:
    output = sys.argv[1]
    photo = Image.open(sys.argv[2]).convert("RGB") if len(sys.argv) > 2 else drawn_shirt()
    after = Image.fromarray(prepare_photo(photo)).resize((560, 560), Image.Resampling.NEAREST)
    before = photo.resize((560 * photo.width // photo.height, 560))
    both = Image.new("RGB", (before.width + 20 + after.width, 560), "white")
    both.paste(before, (0, 0))
    both.paste(after, (before.width + 20, 0))
    both.save(output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
