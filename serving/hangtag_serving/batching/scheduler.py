"""Collects requests of one signature into batches, and runs them.

Semantics and texts: tensorflow's core/kernels/batching_util/shared_batch_scheduler.h and tensorflow_serving/batching/
batching_session.cc. Unlike there, a bad request fails alone: requests of different shapes have different queues, and
after a failure each request of the batch runs on its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..errors import ServingError, invalid
from ..metrics import Metrics
from .parameters import BatchingOptions

_MAX_WIDENED_BYTES = 64 << 20  # of an input after padding to the widest request; larger batches run one by one

Arrays = list[np.ndarray]
Run = Callable[[Mapping[str, np.ndarray]], Arrays]


@dataclass
class _Task:
    inputs: Mapping[str, np.ndarray]
    rows: int
    begun: float
    done: Future[Arrays] = field(default_factory=Future)


@dataclass
class _Batch:
    run: Run
    options: BatchingOptions
    due: float
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0
    closed: bool = False


class _Queue(NamedTuple):
    """The key of a queue: requests with equal keys may run together."""

    model: str
    owner: object
    shapes: object


class BatchScheduler:
    """The queues of batches, and the threads that run them."""

    def __init__(self, threads: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queues: dict[_Queue, deque[_Batch]] = {}
        self._waiting: dict[str, int] = {}
        self._changed = threading.Condition()
        metrics.batching_queue_rows.read = self.waiting_rows
        for number in range(threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def run(
        self, model: str, queue: object, options: BatchingOptions, run: Run, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        """The result of `run` for `inputs`, which may run together with others of the same queue, shapes and dtypes.

        `model` is the model's name in the metric of waiting rows.
        """
        rows = _rows(inputs)
        if rows is None:  # a signature without inputs cannot be batched
            return run(inputs)
        self._metrics.input_batch_size.observe(rows)
        if rows > options.max_batch_size:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {options.max_batch_size}")
        tasks = self._submit(
            _Queue(model, queue, _shapes(inputs, options.pad_variable_length_inputs)), options, run, inputs
        )
        results = [task.done.result() for task in tasks]
        if len(results) == 1:
            return results[0]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _submit(self, key: _Queue, options: BatchingOptions, run: Run, inputs: Mapping[str, np.ndarray]) -> list[_Task]:
        """Put a request into its queue, whole or in pieces; raises ServingError if the queue is full."""
        rows, begun = _rows(inputs) or 0, time.monotonic()
        with self._changed:
            self._waiting.setdefault(key.model, 0)
            batches = self._queues.get(key, deque())
            sizes = _pieces(rows, batches, options)
            self._queues[key] = batches
            tasks = []
            for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True):
                piece = {alias: array[end - size : end] for alias, array in inputs.items()}
                tasks.append(_Task(piece, size, begun))
                if not batches or batches[-1].closed or batches[-1].rows + size > options.largest_run:
                    if batches:
                        batches[-1].closed = True
                    batches.append(_Batch(run, options, time.monotonic() + options.batch_timeout_seconds))
                batches[-1].tasks.append(tasks[-1])
                batches[-1].rows += size
                batches[-1].closed = batches[-1].rows >= options.largest_run
            self._waiting[key.model] += rows
            self._changed.notify(len(tasks))
        return tasks

    def waiting_rows(self) -> dict[str, int]:
        """The waiting rows by model. A model that was batched before stays in the result, with 0."""
        with self._changed:
            return self._waiting.copy()

    # ---- the threads

    def _work(self) -> None:
        while True:
            batch = self._take()
            try:
                self._execute(batch)
            except Exception as error:
                for task in batch.tasks:
                    if not task.done.done():
                        task.done.set_exception(error)

    def _take(self) -> _Batch:
        """Wait for a batch that is full or due, and return the one that has waited longest."""
        with self._changed:
            while True:
                now = time.monotonic()
                heads = [(batches[0].due, key) for key, batches in self._queues.items()]
                ready = [(due, key) for due, key in heads if due <= now or self._queues[key][0].closed]
                if ready:
                    key = min(ready, key=lambda pair: pair[0])[1]
                    batch = self._queues[key].popleft()
                    if not self._queues[key]:
                        del self._queues[key]
                    self._waiting[key.model] -= batch.rows
                    return batch
                self._changed.wait(min((due for due, _ in heads), default=now + 60) - now)

    def _execute(self, batch: _Batch) -> None:
        name = batch.options.thread_pool_name
        for task in batch.tasks:
            self._metrics.queuing_latency.observe((time.monotonic() - task.begun) * 1e6, name)
        padded = _padded(batch)
        self._metrics.wrapped_runs.add()
        self._metrics.processed_batch_size.observe(padded)
        self._metrics.padding_size.observe(padded - batch.rows, str(padded))
        try:
            results = _run_together(batch)
        except ServingError as error:
            if len(batch.tasks) == 1:
                batch.tasks[0].done.set_exception(error)
                return
            for task in batch.tasks:
                alone = _Batch(batch.run, batch.options, 0.0, [task], task.rows)
                try:
                    task.done.set_result(_run_together(alone)[0])
                except ServingError as own:
                    task.done.set_exception(own)
            return
        for task, result in zip(batch.tasks, results, strict=True):
            task.done.set_result(result)


def _pieces(rows: int, batches: Sequence[_Batch], options: BatchingOptions) -> list[int]:
    """The numbers of rows for each batch, first for the open one. Raises ServingError if the queue is full."""
    open_rows = batches[-1].rows if batches else 0
    room = options.largest_run - open_rows if batches else 0
    left = options.max_enqueued_batches - len(batches)
    full = "The batch scheduling queue to which this task was submitted is full; "
    if not options.splits_large_batches:
        if rows > room and left < 1:
            raise ServingError(
                "UNAVAILABLE",
                f"{full}currently {len(batches)} batches enqueued and max_enqueued_batches is "
                f"{options.max_enqueued_batches}",
            )
        return [rows]
    capacity = left * options.largest_run + room
    if rows > capacity:
        raise ServingError(
            "UNAVAILABLE",
            f"{full}task size is {rows} but scheduling capacity is only {capacity} (num_enqueued_batches="
            f"{max(len(batches), 1)}, max_enqueued_batches={options.max_enqueued_batches}, open_batch_size="
            f"{open_rows}, max_execution_batch_size={options.largest_run})",
        )
    if rows <= (room or options.largest_run):
        return [rows]
    rest = rows - room
    sizes = [room] * (room > 0) + [options.largest_run] * (rest // options.largest_run)
    return sizes + [rest % options.largest_run] * (rest % options.largest_run > 0)


def _rows(inputs: Mapping[str, np.ndarray]) -> int | None:
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop() if sizes else None


def _shapes(inputs: Mapping[str, np.ndarray], padded: bool) -> object:
    """What requests must have in common to run together. If shapes are padded, equal ranks are enough."""
    return tuple(
        (alias, array.dtype.str, array.ndim if padded else array.shape[1:]) for alias, array in sorted(inputs.items())
    )


def _run_together(batch: _Batch) -> list[Arrays]:
    inputs = {alias: _stack(batch, alias) for alias in batch.tasks[0].inputs}
    total = len(next(iter(inputs.values())))
    arrays = batch.run(inputs)
    for array in arrays:
        if array.ndim == 0:
            raise ServingError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
        if len(array) != total:
            raise ServingError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
    ends = np.cumsum([task.rows for task in batch.tasks]).tolist()
    return [[array[end - task.rows : end] for array in arrays] for task, end in zip(batch.tasks, ends, strict=True)]


def _padded(batch: _Batch) -> int:
    """The next allowed batch size. A batch without rows is not padded."""
    allowed = batch.options.allowed_batch_sizes if batch.rows else ()
    return next((size for size in allowed if size >= batch.rows), batch.rows)


def _stack(batch: _Batch, alias: str) -> np.ndarray:
    """The rows of all tasks, padded to the next allowed size by repeating the first row."""
    parts = [task.inputs[alias] for task in batch.tasks]
    if len({part.shape[1:] for part in parts}) > 1:
        widest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
        if batch.rows * math.prod(widest) * parts[0].itemsize > _MAX_WIDENED_BYTES:
            raise ServingError("RESOURCE_EXHAUSTED", "Requests of these shapes take too much memory as one batch")
        parts = [_widened(part, widest) for part in parts]
    if _padded(batch) > batch.rows:
        parts.append(np.repeat(parts[0][:1], _padded(batch) - batch.rows, axis=0))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _widened(part: np.ndarray, widest: Sequence[int]) -> np.ndarray:
    """`part` with larger row dimensions, filled with the array's first element as in C++."""
    wide = np.full((len(part), *widest), part.flat[0] if part.size else 0, part.dtype)
    wide[(slice(None), *(slice(size) for size in part.shape[1:]))] = part
    return wide
