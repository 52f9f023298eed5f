"""--enable_batching: requests of one signature wait for each other and run as one batch.

Semantics and texts: tensorflow's core/kernels/batching_util/shared_batch_scheduler.h and tensorflow_serving/batching/
batching_session.cc. One thing is better than there: requests of different shapes wait in queues of their own, and a
batch that fails is repeated request by request, so an odd request fails alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from .batching import BatchingOptions
from .errors import ServingError, invalid
from .metrics import Metrics

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


class BatchScheduler:
    """Threads that run batches, and the queues they take them from."""

    def __init__(self, threads: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queues: dict[object, deque[_Batch]] = {}
        self._changed = threading.Condition()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def run(self, queue: object, options: BatchingOptions, run: Run, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """What `run` gives for `inputs`, run together with others of the same queue, shapes and dtypes."""
        rows = _rows(inputs)
        if rows is None:  # no input at all: nothing to batch
            return run(inputs)
        largest = options.max_batch_size
        if options.splits_large_batches:
            largest = min(largest, options.max_execution_batch_size or largest)
            pieces = [
                {alias: array[start : start + largest] for alias, array in inputs.items()}
                for start in range(0, max(rows, 1), largest)
            ]
        elif rows > largest:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {largest}")
        else:
            pieces = [dict(inputs)]
        tasks = [self._submit(queue, options, run, piece) for piece in pieces]
        results = [task.done.result() for task in tasks]
        if len(results) == 1:
            return results[0]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _submit(self, queue: object, options: BatchingOptions, run: Run, inputs: Mapping[str, np.ndarray]) -> _Task:
        task = _Task(inputs, _rows(inputs) or 0, time.perf_counter())
        largest = options.max_batch_size
        if options.splits_large_batches:
            largest = min(largest, options.max_execution_batch_size or largest)
        key = (queue, _shapes(inputs, options.pad_variable_length_inputs))
        with self._changed:
            batches = self._queues.setdefault(key, deque())
            if not batches or batches[-1].closed or batches[-1].rows + task.rows > largest:
                if len(batches) >= options.max_enqueued_batches:
                    raise ServingError(
                        "UNAVAILABLE",
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{len(batches)} batches enqueued and max_enqueued_batches is {options.max_enqueued_batches}",
                    )
                if batches:
                    batches[-1].closed = True
                batches.append(_Batch(run, options, time.monotonic() + options.batch_timeout_seconds))
            batch = batches[-1]
            batch.tasks.append(task)
            batch.rows += task.rows
            batch.closed = batch.rows >= largest
            self._changed.notify()
        return task

    def waiting_rows(self) -> int:
        """Rows in all queues, those that run not counted."""
        with self._changed:
            return sum(batch.rows for batches in self._queues.values() for batch in batches)

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
        """The batch that has waited longest of those that are full or due."""
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
                    return batch
                self._changed.wait(min((due for due, _ in heads), default=now + 60) - now)

    def _execute(self, batch: _Batch) -> None:
        name = batch.options.thread_pool_name
        for task in batch.tasks:
            self._metrics.queuing_latency.observe((time.perf_counter() - task.begun) * 1e6, name)
        self._metrics.processed_batch_size.observe(batch.rows)
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


def _rows(inputs: Mapping[str, np.ndarray]) -> int | None:
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop() if sizes else None


def _shapes(inputs: Mapping[str, np.ndarray], padded: bool) -> object:
    """What two requests must have in common to run together; where shapes are padded, the rank is enough."""
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


def _stack(batch: _Batch, alias: str) -> np.ndarray:
    """The rows of all tasks, padded to the next allowed size by repeating the first row."""
    parts = [task.inputs[alias] for task in batch.tasks]
    if len({part.shape[1:] for part in parts}) > 1:
        widest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
        parts = [_widened(part, widest) for part in parts]
    allowed = next((size for size in batch.options.allowed_batch_sizes if size >= batch.rows), batch.rows)
    if allowed > batch.rows and batch.rows:
        parts.append(np.repeat(parts[0][:1], allowed - batch.rows, axis=0))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _widened(part: np.ndarray, widest: Sequence[int]) -> np.ndarray:
    """Non-batch dimensions made larger, filled with the array's first element as C++ does."""
    wide = np.full((len(part), *widest), part.flat[0] if part.size else 0, part.dtype)
    wide[(slice(None), *(slice(size) for size in part.shape[1:]))] = part
    return wide
