"""Draw photo-like images of three shapes on textured grounds: a folder to train on.

    python tests/make_photos.py DIR [--images 200]     DIR/circle/000.jpg … DIR/square/… DIR/triangle/…

Size, place, rotation, colours, light and sharpness vary, so that neither a colour nor a pixel gives a class away.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("circle", "square", "triangle")
_CORNERS = {"square": 4, "triangle": 3}


def texture(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Two colours mixed by noise of several sizes, as wood, stone or cloth look from afar."""
    mix = np.zeros((height, width))
    for cells in (4, 16, 64):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells), dtype=np.uint8))
        mix += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / (255 * cells**0.5)
    mix = (mix - mix.min()) / np.ptp(mix)
    first, second = random.integers(20, 236, (2, 3))
    return Image.fromarray((first + mix[..., np.newaxis] * (second - first)).astype(np.uint8))


def photo(random: np.random.Generator, shape: str) -> Image.Image:
    """One image of 150 to 260 pixels a side."""
    width, height = (int(side) for side in random.integers(150, 261, 2))
    ground = texture(random, width, height)
    radius = float(random.uniform(0.22, 0.38)) * min(width, height)
    x = float(random.uniform(radius, width - radius))
    y = float(random.uniform(radius, height - radius))
    mask = Image.new("L", ground.size)
    draw = ImageDraw.Draw(mask)
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        corners = _CORNERS[shape]
        angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
        draw.polygon([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles], fill=255)
    surface = texture(random, width, height)
    contrast = np.asarray(surface, float).mean(axis=(0, 1)) - np.asarray(ground, float).mean(axis=(0, 1))
    if np.abs(contrast).max() < 60:  # the surface would not be seen
        surface = Image.eval(surface, lambda value: (value + 110) % 256)
    ground.paste(surface, mask=mask.filter(ImageFilter.GaussianBlur(1)))
    light = np.linspace(*random.uniform(0.7, 1.15, 2), width)[np.newaxis, :, np.newaxis]
    noise = random.normal(0, 6, (height, width, 3))
    lit = Image.fromarray(np.clip(np.asarray(ground) * light + noise, 0, 255).astype(np.uint8))
    return lit.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.2))))


def make(folder: Path, images: int = 200, seed: int = 0) -> None:
    """Draw `images` of each shape into `folder`."""
    random = np.random.default_rng(seed)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            photo(random, shape).save(folder / shape / f"{number:03}.jpg", quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200, help="of each shape; default %(default)s")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.images)


if __name__ == "__main__":
    main()
