"""The tutorial's picture: each image with its predicted name, beside the bars of its probabilities."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InvalidInput
from .fonts import legible
from .optional import require
from .results import Classification, Prediction

_RIGHT, _WRONG, _OTHER = "blue", "red", "#777777"  # the tutorial's colours


def draw_predictions(
    images: Sequence[np.ndarray],
    result: Classification,
    file: str | Path,
    *,
    truth: Sequence[int] | None = None,
    columns: int = 3,
) -> None:
    """Draw `images` and what `result` says of them into `file` (PNG, SVG or PDF by its ending).

    With `truth`, the true label of each image, names are blue when right and red when wrong, with the true name in
    brackets, and the bars of the predicted and the true class are coloured.

    >>> draw_predictions(images[:3], client.classify(images[:3]), "predictions.png", truth=[9, 2, 1])
    """
    if not len(images):
        raise InvalidInput("there are no images to draw")
    with legible(result.class_names):
        columns = max(1, min(columns, len(images)))  # no empty places beside a single image
        rows = math.ceil(len(images) / columns)
        figure = new_figure(4 * columns, 2 * rows)
        axes = figure.subplots(rows, 2 * columns, squeeze=False)
        for place in range(rows * columns):
            picture, bars = axes[place // columns][2 * (place % columns) :][:2]
            if place >= len(images):
                picture.axis("off")
                bars.axis("off")
                continue
            row, actual = result[place], None if truth is None else int(truth[place])
            draw_image(picture, images[place], row, actual)
            draw_bars(bars, row, actual)
        save(figure, file)


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of that size in inches, with no display behind it."""
    return require("matplotlib.figure", extra="images", what="drawing").Figure(figsize=(width, height), layout="tight")


def save(figure: Any, file: str | Path) -> None:
    """Write the figure; raises InvalidInput if that cannot be."""
    try:
        figure.savefig(file, dpi=100)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib does not know
        raise InvalidInput(f"cannot write the picture {file}: {error}") from error


def read_image(file: str | Path | bytes) -> np.ndarray:
    """A PNG or JPEG file, or its bytes, as an array to look at."""
    image = require("PIL.Image", extra="images", what="drawing")
    with image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
        return np.asarray(opened if opened.mode in ("L", "RGB") else opened.convert("RGB"))


def draw_image(axes: Any, image: np.ndarray, row: Prediction, actual: int | None) -> None:
    """The image with its predicted name below: blue when right, red when wrong, black when the truth is unknown."""
    axes.imshow(image, cmap="binary" if image.ndim == 2 else None)
    axes.set(xticks=[], yticks=[])
    words = f"{row.label} {100 * row.score:2.0f}%"
    if actual is None:
        axes.set_xlabel(words)
    else:
        right = row.class_names[actual] == row.label
        axes.set_xlabel(f"{words} ({row.class_names[actual]})", color=_RIGHT if right else _WRONG)


def draw_bars(axes: Any, row: Prediction, actual: int | None) -> None:
    """The probabilities of all classes: the true one blue, the predicted one red if it is another."""
    bars = axes.bar(range(len(row.probabilities)), row.probabilities, color=_OTHER)
    axes.set(xticks=range(len(row.probabilities)), yticks=[], ylim=(0, 1))
    axes.tick_params(labelsize=7)
    best = int(row.probabilities.argmax())
    bars[best].set_color(_OTHER if actual is None else _WRONG)
    if actual is not None:
        bars[actual].set_color(_RIGHT)
