"""What happens between batches and epochs: progress, early ends, the learning rate, the best epoch, logs.

Keras is imported when a callback is made, so the classes are made by functions.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..errors import ExportError

_WARM_UP = 0.2  # of all steps, in which the learning rate climbs


def progress(epochs: int, say: Callable[[str], None]) -> Any:
    """One line an epoch, and within it a bar, on a terminal only."""
    tqdm = require("tqdm", extra="export", what="training")

    class Progress(_base()):  # type: ignore[misc]
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
            figures = "  ".join(f"{name} {(logs or {})[name]:.4f}" for name in _shown(logs))
            say(f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}  {figures}  {seconds:.1f} s")

    return Progress()


def stop_when(loss: float | None, accuracy: float | None, say: Callable[[str], None]) -> Any:
    """End the training with the epoch whose training loss or accuracy reaches these."""

    class StopWhen(_base()):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            reached = logs or {}
            if loss is not None and reached["loss"] <= loss:
                say(f"training loss {reached['loss']:.4f} is at most {loss:g}: training ends")
                self.model.stop_training = True
            elif accuracy is not None and reached["accuracy"] >= accuracy:
                say(f"training accuracy {reached['accuracy']:.4f} is at least {accuracy:g}: training ends")
                self.model.stop_training = True

    return StopWhen()


def one_cycle(peak: float, steps: int) -> Any:
    """Let the learning rate climb to `peak` in a fifth of the steps, and fall to nothing over the rest, as a cosine."""

    def rate(step: int) -> float:
        climbed = step / (_WARM_UP * steps)
        if climbed < 1:
            return peak * (0.1 + 0.9 * climbed)
        fallen = (step - _WARM_UP * steps) / ((1 - _WARM_UP) * steps)
        return peak * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0)))

    class OneCycle(_base()):  # type: ignore[misc]
        def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
            self.first = int(self.model.optimizer.iterations)

        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            done = int(self.model.optimizer.iterations) - self.first
            self.model.optimizer.learning_rate.assign(rate(done))

    return OneCycle()


def best_epoch(say: Callable[[str], None]) -> Any:
    """Keep the weights of the epoch that did best on the validation images."""

    class BestEpoch(_base()):  # type: ignore[misc]
        best, weights, epoch = -1.0, None, 0

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            accuracy = (logs or {})["val_accuracy"]
            if accuracy > self.best:
                self.best, self.epoch, self.weights = accuracy, epoch + 1, self.model.get_weights()

        def on_train_end(self, logs: dict[str, float] | None = None) -> None:
            if self.weights is not None:
                self.model.set_weights(self.weights)
                say(f"kept epoch {self.epoch}, the best on the validation images: accuracy {self.best:.4f}")

    return BestEpoch()


def logs(csv: Path | None, tensorboard: Path | None) -> list[Any]:
    """Keras's own loggers, for the files asked for."""
    keras = require("keras", extra="export", what="training")
    if tensorboard is not None:
        require("tensorboard", extra="export", what="--tensorboard")
    chosen = []
    if csv is not None:
        chosen.append(_csv(csv))
    if tensorboard is not None:
        try:
            tensorboard.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            words = f"--tensorboard takes a folder, and {tensorboard} cannot be one: {error.strerror}"
            raise InvalidInput(words) from error
        except OSError as error:
            raise ExportError(f"cannot write to {tensorboard}: {error.strerror}") from error
        chosen.append(keras.callbacks.TensorBoard(str(tensorboard)))
    return chosen


def _csv(file: Path) -> Any:
    """Keras's CSV logger, but with epochs counted from 1, as they are on the terminal and in the pictures."""

    class FromOne(require("keras", extra="export", what="training").callbacks.CSVLogger):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_end(epoch + 1, logs)

    return FromOne(str(file))


def _shown(logs: dict[str, float] | None) -> list[str]:
    return [name for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in (logs or {})]


def _base() -> Any:
    return require("keras", extra="export", what="training").callbacks.Callback
