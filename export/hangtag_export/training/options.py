"""The options of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput

from . import transfer
from .architectures import Recipe


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_COUNT = (_is_count, "a whole number, 1 or more")
_POSITIVE = (lambda value: _is_number(value) and 0 < value < math.inf, "a number more than 0")

_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hidden": (lambda value: isinstance(value, Sequence) and all(map(_is_count, value)), "whole numbers, 1 or more"),
    "weights": (lambda value: isinstance(value, str) and bool(value), "imagenet, none, or a file's path"),
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "seed": (
        lambda value: isinstance(value, Integral) and 0 <= int(value) < 2**32,
        "a whole number from 0 to 2**32 - 1",
    ),
    "learning_rate": _POSITIVE,
    "validation_split": (lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to less than 1"),
    "patience": _COUNT,
    "stop_at_loss": _POSITIVE,
    "target_accuracy": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
}
"""What a value may be: a check, and how an error says it."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; None means the value of the architecture's recipe. Raises InvalidInput for other values."""

    architecture: str = "dense"
    hidden: tuple[int, ...] | None = None  # units of the dense layers
    weights: str | None = None  # for a pretrained architecture: "imagenet", "none" or a file
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 42
    learning_rate: float | None = None  # None when resuming from a file: the file's learning rate
    validation_split: float | None = None  # the part of the training images that is held out
    patience: int | None = None  # training ends after so many epochs without a better one
    stop_at_loss: float | None = None  # training ends after the epoch whose loss is at most this
    target_accuracy: float | None = None  # or whose accuracy is at least this
    calibrate: bool = True  # scale the scores by a temperature, if there are validation images
    tensorboard: Path | None = None
    log: Path | None = None  # CSV, one line per epoch

    def __post_init__(self) -> None:
        for name, (holds, what) in _VALUES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise InvalidInput(f"{name} is {value!r}: give {what}")

    def with_defaults(self, recipe: Recipe) -> TrainingOptions:
        """These options, with the values of `recipe` instead of None."""
        return replace(
            self,
            hidden=self.hidden or recipe.hidden or None,
            weights=self.weights or ("imagenet" if self.architecture in transfer.BACKBONES else "none"),
            epochs=self.epochs or recipe.epochs,
            batch_size=self.batch_size or recipe.batch_size,
            validation_split=recipe.validation_split if self.validation_split is None else self.validation_split,
            patience=self.patience or recipe.patience,
        )
