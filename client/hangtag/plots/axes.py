"""Draws one image, or the bars of its probabilities, into matplotlib's axes."""

from __future__ import annotations

import io
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from ..images.pillow import eight_bits, upright
from ..optional import require
from ..results import Prediction

RIGHT, WRONG, PREDICTED, OTHER = "#1f5fbf", "#c8312b", "#333333", "#c4c4c4"
"""The tutorial's colours: for right predictions, wrong ones, predictions of unknown truth, and other classes."""

_BARS = 10  # classes that are shown
_LONGEST = 22  # characters of a class name beside a bar
_ONE_LINE = {True: 20, False: 14}  # characters in a line below an image, for ASCII and for other text, which is wider
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_TUTORIAL = (28, 28)  # the size of Fashion-MNIST's images, which are bright on black


def read_image(file: str | Path | bytes) -> np.ndarray:
    """An image file, or its bytes, as an array for viewing: uint8 [H, W] or [H, W, 3], rotated by its EXIF data."""
    pillow = require("PIL.Image", extra="images", what="drawing")
    with pillow.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
        image = eight_bits(upright(opened))
        return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def show(axes: Any, image: np.ndarray) -> None:
    """Draw one image without ticks. Grey images of 28 x 28 pixels are drawn dark on white, as in the tutorial."""
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    colours = None
    if image.ndim == 2:
        colours = "binary" if image.shape == _TUTORIAL else "gray"
    limits = {"vmin": 0, "vmax": 255} if image.dtype == np.uint8 else {}
    axes.imshow(image, cmap=colours, **limits)
    axes.set(xticks=[], yticks=[])


def draw_image(axes: Any, image: np.ndarray, row: Prediction, actual: int | None) -> None:
    """Draw the image with its predicted class below: blue if right, red if wrong, black if the truth is unknown."""
    show(axes, image)
    pieces, colour = [short(row.label), f"{row.score:.0%}"], PREDICTED
    if actual is not None:
        pieces.append(f"({short(row.class_names[actual])})")
        colour = RIGHT if row.class_names[actual] == row.label else WRONG
    longest = _ONE_LINE["".join(pieces).isascii()]
    unbroken = " ".join(piece.replace(" ", "\xa0") for piece in pieces)  # a line may only end between pieces
    lines = textwrap.wrap(unbroken, longest, break_long_words=False, break_on_hyphens=False)
    axes.set_xlabel("\n".join(lines).replace("\xa0", " "), fontsize=9, color=colour)


def draw_bars(axes: Any, row: Prediction, actual: int | None) -> None:
    """Draw a bar and the name of each class, or of the best ten, on a scale from 0 to 100 %.

    The predicted class is blue if right, red if wrong (then the true one is blue), or dark if the truth is unknown.
    """
    best = int(row.probabilities.argmax())
    shown = list(range(len(row.probabilities)))
    if len(shown) > _BARS:
        shown = np.argsort(-row.probabilities, kind="stable")[:_BARS].tolist()
        if actual is not None and actual not in shown:
            shown[-1] = actual
    colours = [OTHER] * len(shown)
    colours[shown.index(best)] = PREDICTED if actual is None else WRONG
    if actual is not None:
        colours[shown.index(actual)] = RIGHT
    places = range(len(shown))
    axes.barh(places, row.probabilities[shown], color=colours, height=0.75)
    axes.set_yticks(places, [short(row.class_names[index]) for index in shown])
    for label, index, colour in zip(axes.get_yticklabels(), shown, colours, strict=True):
        if index in (best, actual):
            label.set(color=colour, fontweight="bold")
    axes.invert_yaxis()  # the first class on top
    axes.set(xlim=(0, 1))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "", "50%", "", "100%"])
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def short(name: str) -> str:
    """A class name that fits beside a bar, without control characters."""
    name = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
