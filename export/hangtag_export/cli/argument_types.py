"""Kinds of words on the command line: each function returns the value of a word, or says what the word is not."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

NONE = "none"
"""Instead of a file or a server, where leaving it out may be forgetfulness."""

_Number = TypeVar("_Number", int, float)


def _number(kind: Callable[[str], _Number], holds: Callable[[_Number], bool], what: str) -> Callable[[str], _Number]:
    def parse(text: str) -> _Number:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not holds(number):
            raise ArgumentTypeError(f"{text!r} is not {what}")
        return number

    return parse


positive = _number(int, lambda number: number >= 1, "a whole number, 1 or more")
seed = _number(int, lambda number: 0 <= number < 2**32, "a whole number from 0 to 2**32 - 1")
above_zero = _number(float, lambda number: 0 < number < math.inf, "a number more than 0")
part = _number(float, lambda number: 0 <= number < 1, "a number from 0 to less than 1")
accuracy = _number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1: 0.9 means 90 %")


def units(text: str) -> tuple[int, ...]:
    """Whole numbers, with commas between them."""
    return tuple(positive(each) for each in text.split(","))


def size(text: str) -> tuple[int, int]:
    """Height and width, ``32x24``, or one number for both."""
    height, _, width = text.lower().partition("x")
    return positive(height), positive(width or height)


def model_name(text: str) -> str:
    """A name that can be a folder's and a part of a URL."""
    if not text.strip() or text in (".", "..") or "/" in text:
        raise ArgumentTypeError(f"{text!r} is not a name: it must be one that a folder can have")
    return text


def keras_file(text: str) -> Path:
    """A file that Keras can save to."""
    path = Path(text)
    if path.suffix not in (".keras", ".h5"):
        raise ArgumentTypeError(f"{text} must end in .keras or .h5")
    return path


def config_that_keeps(config: Path | None) -> Path | None:
    """The model config whose versions --keep leaves alone; a word on standard error where nothing was said of it."""
    if config is None:
        print(
            "--keep without --config FILE: versions that a label or a policy names are not known, and not spared "
            f"(--config {NONE} says that there are none)",
            file=sys.stderr,
        )
    return None if config == Path(NONE) else config
