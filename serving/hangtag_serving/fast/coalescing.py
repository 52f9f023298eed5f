"""Runs Predict calls that arrive together in one batch, without waiting for more.

All calls of a batch have the same version, signature, outputs, dtype and row shape. After a failure each call runs on
its own, so a bad request fails alone. --enable_batching, which does wait, is in `hangtag_serving.batching`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import INTERNAL, ServingError
from ..request_log import Recorder
from .batch_target import BatchTarget

log = logging.getLogger("hangtag.serving")

MAX_ROWS = 256


class Call(NamedTuple):
    """A request that has been read. Its transport answers it by `reply_to`; `size` is in bytes."""

    reply_to: Any
    array: np.ndarray
    size: int


@dataclass(slots=True)
class Batch:
    """Calls for one target, of at most MAX_ROWS rows or a single call. It holds its version until it is answered."""

    target: BatchTarget
    begun: float
    rows: int = 0
    calls: list[Call] = field(default_factory=list)

    @property
    def expected_seconds(self) -> float:
        """The expected time by earlier runs of this size; 0 if there were none."""
        return self.target.expected_seconds(self.rows)


Respond = Callable[[BatchTarget, Any, list[np.ndarray]], object]
"""Answers a call, given its target, its `reply_to` and its outputs. May raise ServingError."""
Fail = Callable[[Any, ServingError], object]


class BatchRunner:
    """Adds calls to batches and answers batches, for one entrypoint (GRPC or REST). Thread-safe."""

    def __init__(self, recorder: Recorder, entrypoint: str, respond: Respond, fail: Fail, *, shares_runs: bool) -> None:
        self._recorder, self._entrypoint = recorder, entrypoint
        self._respond, self._fail = respond, fail
        self._max_rows = MAX_ROWS if shares_runs else 0

    def add(self, batches: list[Batch], target: BatchTarget, calls: Iterable[Call], begun: float) -> None:
        """Add calls to `batches`, into existing ones or new ones. The caller has acquired the version."""
        for call in calls:
            rows = len(call.array)
            joined = (b for b in batches if b.target is target and b.rows + rows <= self._max_rows)
            batch = next(joined, None)
            if batch is None:
                batch = Batch(target, begun)
                target.servable.share()
                batches.append(batch)
            batch.calls.append(call)
            batch.rows += rows

    def answer(self, batch: Batch) -> None:
        """Answer every call of a batch and release its version."""
        try:
            self._answer(batch)
        except Exception:
            log.exception("a batch of %s calls failed", self._entrypoint)
        finally:
            batch.target.servable.release()

    def _answer(self, batch: Batch) -> None:
        target, results = batch.target, None
        if len(batch.calls) > 1:
            try:
                results = target.run_together([call.array for call in batch.calls])
            except Exception:
                log.exception("calls could not run together")  # below, each runs on its own
        if results is not None:
            self._recorder.metrics.coalesced_rows.observe(batch.rows)
        answered = []
        for position, call in enumerate(batch.calls):
            try:
                outputs = target.run(call.array) if results is None else results[position]
                self._respond(target, call.reply_to, outputs)
                answered.append(call.size)
            except Exception as error:
                self._failed(call, batch, error)
        if answered:
            self._record(batch, "OK", answered)

    def _failed(self, call: Call, batch: Batch, error: Exception) -> None:
        """Answer one call with an error, and log an unexpected one."""
        if not isinstance(error, ServingError):
            log.error("a request failed", exc_info=error)
            error = ServingError("INTERNAL", INTERNAL)
        self._fail(call.reply_to, error)
        self._record(batch, error.code, [call.size])

    def _record(self, batch: Batch, code: str, sizes: list[int]) -> None:
        self._recorder.metrics.fast_requests.add(self._entrypoint, by=len(sizes))
        self._recorder.answered(
            model=batch.target.servable.name,
            api="Predict" if self._entrypoint == "GRPC" else "predict",
            entrypoint=self._entrypoint,
            code=code,
            begun=batch.begun,
            servable=batch.target.servable,
            signature=batch.target.signature,
            sizes=sizes,
        )
