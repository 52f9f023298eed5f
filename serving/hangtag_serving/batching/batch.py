"""One batch: the requests in it, their rows as one array for each input, and their outputs.

Semantics and texts: tensorflow_serving/batching/batching_session.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ..errors import ServingError
from .parameters import BatchingOptions

_MAX_WIDENED_BYTES = 64 << 20  # of an input after padding to the widest request; larger batches run one by one

Arrays = list[np.ndarray]
Run = Callable[[Mapping[str, np.ndarray]], Arrays]


@dataclass
class Task:
    """A request, or a piece of one; `begun` is when it began to wait, by `time.monotonic`."""

    inputs: Mapping[str, np.ndarray]
    rows: int
    begun: float
    done: Future[Arrays] = field(default_factory=Future)


@dataclass
class Batch:
    """Tasks that run together, at the time `due` at the latest. A closed batch takes no more tasks."""

    run: Run
    options: BatchingOptions
    due: float
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0
    closed: bool = False

    @property
    def padded_rows(self) -> int:
        """The next allowed batch size. A batch without rows is not padded."""
        allowed = self.options.allowed_batch_sizes if self.rows else ()
        return next((size for size in allowed if size >= self.rows), self.rows)

    def results(self) -> list[Arrays]:
        """Run all tasks together; returns the outputs of each. Raises ServingError."""
        inputs = {alias: self._stack(alias) for alias in self.tasks[0].inputs}
        total = len(next(iter(inputs.values())))
        arrays = self.run(inputs)
        for array in arrays:
            if array.ndim == 0:
                raise ServingError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
            if len(array) != total:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        ends = np.cumsum([task.rows for task in self.tasks]).tolist()
        return [[array[end - task.rows : end] for array in arrays] for task, end in zip(self.tasks, ends, strict=True)]

    def _stack(self, alias: str) -> np.ndarray:
        """The rows of all tasks, padded to the next allowed size by repeating the first row."""
        parts = [task.inputs[alias] for task in self.tasks]
        if len({part.shape[1:] for part in parts}) > 1:
            widest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
            if self.rows * math.prod(widest) * parts[0].itemsize > _MAX_WIDENED_BYTES:
                raise ServingError("RESOURCE_EXHAUSTED", "Requests of these shapes take too much memory as one batch")
            parts = [_widened(part, widest) for part in parts]
        if self.padded_rows > self.rows:
            parts.append(np.repeat(parts[0][:1], self.padded_rows - self.rows, axis=0))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _widened(part: np.ndarray, widest: Sequence[int]) -> np.ndarray:
    """`part` with larger row dimensions, filled with the array's first element as in C++."""
    wide = np.full((len(part), *widest), part.flat[0] if part.size else 0, part.dtype)
    wide[(slice(None), *(slice(size) for size in part.shape[1:]))] = part
    return wide
