"""Pictures of predictions, by matplotlib: `predictions` draws them, `fonts` finds a font for their names."""

from .predictions import (
    OTHER,
    PREDICTED,
    RIGHT,
    WRONG,
    draw_bars,
    draw_image,
    draw_predictions,
    new_figure,
    read_image,
    save,
    short,
    show,
)

__all__ = [
    "OTHER",
    "PREDICTED",
    "RIGHT",
    "WRONG",
    "draw_bars",
    "draw_image",
    "draw_predictions",
    "new_figure",
    "read_image",
    "save",
    "short",
    "show",
]
