"""Training, with its progress shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hangtag.extras import require

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingOptions:
    """How long and in which steps to train."""

    epochs: int = 10
    batch_size: int = 32
    seed: int = 42


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow."""
    require("keras", extra="export", what="training").utils.set_random_seed(seed)


def fit(
    model: Any, images: np.ndarray, labels: np.ndarray, options: TrainingOptions, say: Say
) -> dict[str, list[float]]:
    """Train `model` on uint8 `images`; return its losses and accuracies by epoch."""
    history = model.fit(
        as_floats(images),
        labels,
        epochs=options.epochs,
        batch_size=options.batch_size,
        verbose=0,
        callbacks=[_progress(options.epochs, say)],
    )
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def as_floats(images: np.ndarray) -> np.ndarray:
    """Pixels 0..255 as float32 0..1: the same division, in the same precision, as the exported graph does."""
    return images.astype(np.float32) / np.float32(255)


def evaluate(model: Any, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss and accuracy on uint8 `images`."""
    loss, accuracy = model.evaluate(as_floats(images), labels, batch_size=1000, verbose=0)
    return float(loss), float(accuracy)


def _progress(epochs: int, say: Say) -> Any:
    keras = require("keras", extra="export", what="training")
    tqdm = require("tqdm", extra="export", what="training")

    class Progress(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """One line an epoch, and within it a bar, on a terminal only."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.start = time.perf_counter()
            steps = self.params.get("steps")
            shown = sys.stderr.isatty()
            self.bar = tqdm.tqdm(total=steps, desc=f"epoch {epoch + 1}/{epochs}", leave=False, disable=not shown)

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.bar.update(batch + 1 - self.bar.n)

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.bar.close()
            seconds = time.perf_counter() - self.start
            figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted((logs or {}).items(), reverse=True))
            say(f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}  {figures}  {seconds:.1f} s")

    return Progress()
