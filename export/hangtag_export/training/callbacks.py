"""Keras callbacks: progress, early stopping, learning rate, random state, the best epoch, and logs.

The classes are defined inside functions, because Keras is only imported when a callback is made.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..errors import ExportError

_WARM_UP = 0.2  # the part of the steps in which the learning rate rises
_RANDOM_STATE = "seed_generator_state"  # Keras's name for the variable


@dataclass
class Best:
    """The best epoch on the validation images so far. Epochs are counted from 1; 0 means none yet."""

    accuracy: float = -1.0
    loss: float = math.inf
    epoch: int = 0
    weights: list[Any] | None = None


def progress(epochs: int, say: Callable[[str], None]) -> Any:
    """Print a line for each epoch; on a terminal, also show a progress bar during the epoch."""
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
    """End the training after the epoch whose training loss or accuracy reaches a limit; then `reached` is True."""

    class StopWhen(_base()):  # type: ignore[misc]
        reached = False

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            figures = logs or {}
            if loss is not None and figures["loss"] <= loss:
                say(f"training loss {figures['loss']:.4f} is at most {loss:g}: training stops")
            elif accuracy is not None and figures["accuracy"] >= accuracy:
                say(f"training accuracy {figures['accuracy']:.4f} is at least {accuracy:g}: training stops")
            else:
                return
            self.reached = self.model.stop_training = True

    return StopWhen()


def one_cycle(peak: float, first_step: int, steps: int) -> Any:
    """Raise the learning rate to `peak` in a fifth of the `steps`, then lower it to zero along a cosine.

    `first_step` is the optimizer's count of steps at the beginning of the cycle.
    """

    def rate(step: int) -> float:
        risen = step / (_WARM_UP * steps)
        if risen < 1:
            return peak * (0.1 + 0.9 * risen)
        fallen = (step - _WARM_UP * steps) / ((1 - _WARM_UP) * steps)
        return peak * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0)))

    class OneCycle(_base()):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            done = int(self.model.optimizer.iterations) - first_step
            self.model.optimizer.learning_rate.assign(rate(done))

    return OneCycle()


def seeded_epochs(seed: int) -> Any:
    """Make dropout and other random layers depend only on the seed and the epoch.

    Keras does not save their random state with a model, so a continued training would use other numbers.
    """

    class SeededEpochs(_base()):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            states = [each for each in self.model.variables if each.name == _RANDOM_STATE]
            for number, state in enumerate(states):
                (first,) = np.random.SeedSequence([seed, epoch, number]).generate_state(1)
                state.assign(np.array([first, 0], state.dtype))  # the second number counts the draws

    return SeededEpochs()


def best_epoch(best: Best, first_epoch: int, patience: int | None, say: Callable[[str], None]) -> Any:
    """Record the best epoch in `best`; end after `patience` epochs, counted from `first_epoch`, without a better one.

    The best epoch has the highest accuracy on the validation images; among equal ones, the smallest loss.
    """

    class BestEpoch(_base()):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            accuracy, loss = (logs or {})["val_accuracy"], (logs or {})["val_loss"]
            if (accuracy, -loss) > (best.accuracy, -best.loss):
                best.accuracy, best.loss, best.epoch = accuracy, loss, epoch + 1
                best.weights = self.model.get_weights()
            elif patience is not None and epoch + 1 - max(best.epoch, first_epoch) >= patience:
                say(f"no better epoch in {patience} epochs: training stops")
                self.model.stop_training = True

    return BestEpoch()


def at_epoch_end(do: Callable[[Any, int, Mapping[str, float]], None]) -> Any:
    """Call ``do(model, epochs done, figures)`` after each epoch."""

    class AtEpochEnd(_base()):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            do(self.model, epoch + 1, logs or {})

    return AtEpochEnd()


def tensorboard(folder: Path) -> Any:
    """Keras's callback that writes logs for TensorBoard."""
    keras = require("keras", extra="export", what="training")
    require("tensorboard", extra="export", what="--tensorboard")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(f"--tensorboard needs a folder, but {folder} cannot be one: {error.strerror}") from error
    except OSError as error:
        raise ExportError(f"cannot write to {folder}: {error.strerror}") from error
    return keras.callbacks.TensorBoard(str(folder))


def write_csv(file: Path, history: Mapping[str, Sequence[float]], first_epoch: int) -> None:
    """Write one line per epoch, counted from 1; `first_epoch` is the number of epochs before the history begins."""
    try:
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["epoch", *history])
            for number, row in enumerate(zip(*history.values(), strict=True), first_epoch + 1):
                writer.writerow([number, *row])
    except OSError as error:
        raise ExportError(f"cannot write {file}: {error.strerror}") from error


def read_csv(file: Path, epochs: int) -> dict[str, list[float]]:
    """The history of the first `epochs` epochs, from a file of `write_csv`; empty if the file does not have them."""
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))[:epochs]
        if [int(row["epoch"]) for row in rows] != list(range(1, epochs + 1)):
            return {}
        return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}


def _shown(logs: dict[str, float] | None) -> list[str]:
    return [name for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in (logs or {})]


def _base() -> Any:
    return require("keras", extra="export", what="training").callbacks.Callback
