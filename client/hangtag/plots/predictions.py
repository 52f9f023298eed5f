"""The tutorial's picture: each image with its predicted class, beside the bars of its probabilities.

All functions work without a display. A figure is a ``matplotlib.figure.Figure``; a notebook shows a returned figure.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..images.pillow import eight_bits, upright
from ..optional import require
from ..results import Classification, Prediction
from .fonts import legible

RIGHT, WRONG, PREDICTED, OTHER = "#1f5fbf", "#c8312b", "#333333", "#c4c4c4"
"""The tutorial's colours: for right predictions, wrong ones, predictions of unknown truth, and other classes."""

_BARS = 10  # classes that are shown
_LONGEST = 22  # characters of a class name beside a bar
_ONE_LINE = {True: 20, False: 14}  # characters in a line below an image, for ASCII and for other text, which is wider
_DPI = 100
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_TUTORIAL = (28, 28)  # the size of Fashion-MNIST's images, which are bright on black


def draw_predictions(
    images: Sequence[np.ndarray],
    result: Classification,
    file: str | Path | None = None,
    *,
    truth: Sequence[int] | None = None,
    columns: int = 3,
    caption: str | None = None,
) -> Any:
    """Draw `images` with their predictions; returns the figure, and writes it if `file` (PNG, SVG or PDF) is given.

    `truth` has the true label of each image: right predictions are blue, wrong ones red with the true name in brackets.
    `caption` is the title; by default it explains the colours, and "" omits it.

    >>> figure = draw_predictions(images[:3], client.classify(images[:3]), "predictions.png", truth=[9, 2, 1])
    """
    if not len(images):
        raise InvalidInput("there are no images to draw")
    if caption is None:
        caption = "" if truth is None else _default_caption(result, truth)
    with legible([*map(short, result.class_names), caption]):
        columns = max(1, min(columns, len(images)))  # no empty columns
        rows = math.ceil(len(images) / columns)
        figure = new_figure(4 * columns, 2 * rows + (0.4 if caption else 0), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)  # inches around each axes
        if caption:
            figure.suptitle(caption, fontsize=11)
        cells = figure.subfigures(rows, columns, squeeze=False).ravel()
        for place, cell in zip(range(len(images)), cells, strict=False):
            picture, bars = cell.subplots(1, 2, width_ratios=(4, 5))
            row, actual = result[place], None if truth is None else int(truth[place])
            draw_image(picture, images[place], row, actual)
            draw_bars(bars, row, actual)
        if file is not None:
            save(figure, file)
        else:
            figure.canvas.draw()  # lays out the text while the fonts of this block are active
    return figure


def _default_caption(result: Classification, truth: Sequence[int]) -> str:
    right = int((result.indices[: len(truth)] == np.asarray(truth)).sum())
    return f"{right} of {len(truth)} right. Blue: the true class; red: a wrong prediction (true class in brackets)"


def new_figure(width: float, height: float, layout: str = "tight") -> Any:
    """A matplotlib figure of that size in inches, without a display."""
    figure = require("matplotlib.figure", extra="images", what="drawing").Figure
    return figure(figsize=(width, height), layout=layout, dpi=_DPI)


def save(figure: Any, file: str | Path) -> None:
    """Write the figure to a file; raises InvalidInput if that is impossible."""
    try:
        figure.savefig(file, dpi=_DPI)
    except (OSError, ValueError) as error:  # ValueError: a suffix that matplotlib does not know
        raise InvalidInput(f"cannot write the picture {file}: {error}") from error


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
