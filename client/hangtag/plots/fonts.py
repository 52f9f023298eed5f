"""Finds a font for class names that matplotlib's own font does not cover, such as Chinese ones."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import InvalidInput
from ..optional import require

_WHAT = "drawing"


@contextmanager
def legible(texts: Iterable[str]) -> Iterator[None]:
    """Within the block, draw with fonts that have every character of `texts`.

    Raises InvalidInput if no installed font has them; matplotlib would draw empty boxes.
    """
    characters = frozenset("".join(texts)) - frozenset("\n\t ")
    manager = require("matplotlib.font_manager", extra="images", what=_WHAT)
    matplotlib = require("matplotlib", extra="images", what=_WHAT)
    own = manager.findfont("DejaVu Sans")  # comes with matplotlib
    missing = characters - _characters_of(own)
    family = ["DejaVu Sans"]
    if missing:
        file = _find(missing)
        manager.fontManager.addfont(file)
        family.append(manager.FontProperties(fname=file).get_name())
    # The filter stays, because a figure may be written after the block. Adding it again has no effect.
    logging.getLogger("matplotlib.font_manager").addFilter(_is_not_about_weight)
    with matplotlib.rc_context({"font.family": family, "text.parse_math": False}):  # "$" does not begin a formula
        yield


def _is_not_about_weight(record: logging.LogRecord) -> bool:
    """False for matplotlib's warning about a font without a bold weight: its regular weight is good enough."""
    return "font weight" not in str(record.msg)


def check(texts: Iterable[str]) -> None:
    """Raise InvalidInput if no installed font has `texts`."""
    with legible(texts):
        pass


def _find(characters: frozenset[str]) -> str:
    """The file of an installed font with all `characters`. Not cached, because fonts may be installed meanwhile."""
    manager = require("matplotlib.font_manager", extra="images", what=_WHAT)
    # A regular sans-serif font looks best with matplotlib's own; other fonts with the characters come last.
    for file in sorted(manager.findSystemFonts(), key=lambda file: (not _looks_right(file), file)):
        if characters <= _characters_of(file):
            return str(file)
    sample = "".join(sorted(characters)[:3])
    raise InvalidInput(
        f"no installed font has the characters {sample}…: install one that does (on Debian or Ubuntu, "
        "apt install fonts-noto-cjk or fonts-wqy-microhei), or choose another language"
    )


def _looks_right(file: str) -> bool:
    name = file.rsplit("/", 1)[-1].lower()
    return "serif" not in name.replace("sans", "") and not any(
        word in name for word in ("bold", "italic", "oblique", "mono", "light", "thin", "black", "ming", "song", "kai")
    )


@functools.cache
def _characters_of(file: str) -> frozenset[str]:
    """All characters of a font; none if the font cannot be read."""
    ft2font = require("matplotlib.ft2font", extra="images", what=_WHAT)
    try:
        return frozenset(map(chr, ft2font.FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
