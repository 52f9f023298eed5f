"""The tutorial's picture: each image with its predicted class, beside the bars of its probabilities.

All functions work without a display. A figure is a ``matplotlib.figure.Figure``; a notebook shows a returned figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..optional import require
from ..results import Classification
from .axes import draw_bars, draw_image, short
from .fonts import legible

_DPI = 100


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
