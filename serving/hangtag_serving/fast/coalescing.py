"""Predict calls that arrived together run together, without waiting for more.

Never mixed: versions, signatures, chosen outputs, shapes, dtypes. A run that fails is repeated call by call, so a bad
request fails alone. --enable_batching, which waits on purpose, is another thing: see `batching`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import INTERNAL, ServingError
from ..request_log import Recorder
from .batch_target import Lane

log = logging.getLogger("hangtag.serving")

MAX_ROWS = 256


class Call(NamedTuple):
    """A request that has been read. `token` is what its door answers it by, `size` its bytes."""

    token: Any
    array: np.ndarray
    size: int


@dataclass(slots=True)
class Run:
    """Calls for one lane, of at most MAX_ROWS rows unless it is one call. Holds its version until it is answered."""

    lane: Lane
    begun: float
    rows: int = 0
    calls: list[Call] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """Seconds, from runs of about this size; 0 if there was none."""
        return self.lane.expected(self.rows)


Respond = Callable[[Lane, Any, list[np.ndarray]], object]  # token, outputs
Fail = Callable[[Any, ServingError], object]


class Runner:
    """Packs calls into runs and answers those, for one door; may be used by several threads.

    `respond` writes an answer and may raise ServingError, `fail` writes an error.
    """

    def __init__(self, recorder: Recorder, door: str, respond: Respond, fail: Fail) -> None:
        self._recorder, self._door = recorder, door
        self._respond, self._fail = respond, fail

    def pack(self, runs: list[Run], lane: Lane, calls: Iterable[Call], begun: float) -> None:
        """Add calls to those of `runs` that they may join, or to new ones; the caller has acquired the version."""
        for call in calls:
            rows = len(call.array)
            run = next((run for run in runs if run.lane is lane and run.rows + rows <= MAX_ROWS), None)
            if run is None:
                run = Run(lane, begun)
                lane.servable.share()
                runs.append(run)
            run.calls.append(call)
            run.rows += rows

    def answer(self, run: Run) -> None:
        """Answer every call of a run, and let go of its version."""
        try:
            self._answer(run)
        finally:
            run.lane.servable.release()

    def _answer(self, run: Run) -> None:
        lane, results = run.lane, None
        if len(run.calls) > 1:
            try:
                results = lane.run_together([call.array for call in run.calls])
            except Exception:
                log.exception("calls could not run together")  # each is tried alone, and fails alone
        if results is not None:
            self._recorder.metrics.burst_rows.observe(run.rows)
        answered = []
        for position, call in enumerate(run.calls):
            try:
                self._respond(lane, call.token, lane.run(call.array) if results is None else results[position])
                answered.append(call.size)
            except Exception as error:
                self._failed(call.token, call.size, run, error)
        if answered:
            self._record(run, "OK", answered)

    def _failed(self, token: Any, size: int, run: Run, error: Exception) -> None:
        """Answer one call with an error; one that is none of ours goes to the log."""
        if not isinstance(error, ServingError):
            log.error("a request failed", exc_info=error)
            error = ServingError("INTERNAL", INTERNAL)
        self._fail(token, error)
        self._record(run, error.code, [size])

    def _record(self, run: Run, code: str, sizes: list[int]) -> None:
        self._recorder.answered(
            model=run.lane.servable.name,
            api="Predict" if self._door == "GRPC" else "predict",
            door=self._door,
            code=code,
            begun=run.begun,
            servable=run.lane.servable,
            signature=run.lane.signature,
            sizes=sizes,
        )
