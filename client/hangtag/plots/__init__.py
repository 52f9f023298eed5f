"""Pictures of predictions with matplotlib: `predictions` draws them, `fonts` finds a font for the class names."""

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
