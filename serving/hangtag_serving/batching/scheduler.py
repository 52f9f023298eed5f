"""Collects requests of one signature into batches, and runs them.

Semantics and texts: tensorflow's core/kernels/batching_util/shared_batch_scheduler.h and tensorflow_serving/batching/
batching_session.cc. Unlike there, a bad request fails alone: requests of different shapes have different queues, and
after a failure each request of the batch runs on its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ServingError, invalid
from ..metrics import Metrics
from .batch import Arrays, Batch, Run, Task
from .parameters import BatchingOptions


class _Queue(NamedTuple):
    """The key of a queue: requests with equal keys may run together."""

    model: str
    owner: object
    shapes: object


class BatchScheduler:
    """The queues of batches, and the threads that run them."""

    def __init__(self, threads: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queues: dict[_Queue, deque[Batch]] = {}
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

    def _submit(self, key: _Queue, options: BatchingOptions, run: Run, inputs: Mapping[str, np.ndarray]) -> list[Task]:
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
                tasks.append(Task(piece, size, begun))
                if not batches or batches[-1].closed or batches[-1].rows + size > options.largest_run:
                    if batches:
                        batches[-1].closed = True
                    batches.append(Batch(run, options, time.monotonic() + options.batch_timeout_seconds))
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

    def _take(self) -> Batch:
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

    def _execute(self, batch: Batch) -> None:
        name = batch.options.thread_pool_name
        for task in batch.tasks:
            self._metrics.queuing_latency.observe((time.monotonic() - task.begun) * 1e6, name)
        padded = batch.padded_rows
        self._metrics.wrapped_runs.add()
        self._metrics.processed_batch_size.observe(padded)
        self._metrics.padding_size.observe(padded - batch.rows, str(padded))
        try:
            results = batch.results()
        except ServingError as error:
            if len(batch.tasks) == 1:
                batch.tasks[0].done.set_exception(error)
                return
            for task in batch.tasks:
                alone = Batch(batch.run, batch.options, 0.0, [task], task.rows)
                try:
                    task.done.set_result(alone.results()[0])
                except ServingError as own:
                    task.done.set_exception(own)
            return
        for task, result in zip(batch.tasks, results, strict=True):
            task.done.set_result(result)


def _pieces(rows: int, batches: Sequence[Batch], options: BatchingOptions) -> list[int]:
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
