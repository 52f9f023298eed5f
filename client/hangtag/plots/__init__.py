"""Pictures of predictions with matplotlib: `predictions` makes figures, `axes` draws in them, `fonts` finds a font."""

from .axes import OTHER, PREDICTED, RIGHT, WRONG, draw_bars, draw_image, read_image, short, show
from .predictions import draw_predictions, new_figure, save

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
