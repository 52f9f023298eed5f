"""The options of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from . import transfer
from .architectures import Recipe


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; None means the value of the architecture's recipe."""

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
