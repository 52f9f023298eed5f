"""Predict calls that arrived together run together, without waiting for more.

Never mixed: versions, signatures, chosen outputs, shapes, dtypes. A run that fails is repeated call by call, so a bad
request fails alone. --enable_batching, which waits on purpose, is another thing: see `batching`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .errors import ServingError
from .grpc_front import INTERNAL
from .merging import Lane
from .models import Models
from .quick_predict import Pattern, Reader, lane_of, write
from .recorder import Recorder
from .tensor_protos import Encode

log = logging.getLogger("hangtag.serving")

MAX_ROWS = 256

Respond = Callable[[int, bytes], object]  # call id, answer
Fail = Callable[[int, ServingError], object]
Calls = list[tuple[int, bytes]]  # call id, request


@dataclass(slots=True)
class Run:
    """Calls for one lane, of at most MAX_ROWS rows unless it is one call. Holds its version until it is done."""

    lane: Lane
    begun: float
    rows: int = 0
    calls: list[tuple[int, Pattern, bytes]] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """Seconds, from runs of about this size; 0 if there was none."""
        return self.lane.expected(self.rows)


class BurstPredictor:
    """Sorts bursts of Predict calls into runs, and answers those; may be used by several threads."""

    def __init__(self, models: Models, encode: Encode, recorder: Recorder, respond: Respond, fail: Fail) -> None:
        self._models, self._encode, self._recorder = models, encode, recorder
        self._respond, self._fail = respond, fail
        self._reader = Reader()

    def sort(self, calls: Iterable[tuple[int, bytes]]) -> tuple[list[Run], Calls]:
        """What can be run, and the calls that have to be read first, each by itself."""
        begun = time.perf_counter()
        by_pattern: dict[Pattern, Calls] = {}
        unread: Calls = []
        for number, body in calls:
            pattern = self._reader.find(body)
            if pattern is None:
                unread.append((number, body))
            else:
                by_pattern.setdefault(pattern, []).append((number, body))
        runs: list[Run] = []
        for pattern, alike in by_pattern.items():
            self._add(runs, pattern, alike, begun)
        return runs, unread

    def learn(self, body: bytes) -> None:
        """Know requests like this one from now on; it has been answered already."""
        self._reader.learn(body)

    def answer(self, run: Run) -> None:
        """Answer every call of a run, by `respond` or `fail`."""
        try:
            self._answer(run)
        finally:
            run.lane.servable.release()

    def _add(self, runs: list[Run], pattern: Pattern, calls: Calls, begun: float) -> None:
        try:
            servable = self._models.acquire(pattern.spec)
            try:
                lane = lane_of(servable, pattern)
                rows = pattern.shape[0]
                for number, body in calls:
                    run = next((run for run in runs if run.lane is lane and run.rows + rows <= MAX_ROWS), None)
                    if run is None:
                        run = Run(lane, begun)
                        servable.share()
                        runs.append(run)
                    run.calls.append((number, pattern, body))
                    run.rows += rows
            finally:
                servable.release()
        except Exception as error:
            for number, body in calls:
                self._failed(number, pattern, len(body), begun, error)

    def _answer(self, run: Run) -> None:
        lane = run.lane
        arrays = [pattern.array(body) for _, pattern, body in run.calls]
        if len(arrays) > 1:
            results = lane.run_together(arrays)
            if results is not None:
                self._recorder.metrics.burst_rows.observe(run.rows)
                for (number, _, _), result in zip(run.calls, results, strict=True):
                    self._respond(number, write(lane, result, self._encode))
                self._done(run, run.calls)
                return
        for call, array in zip(run.calls, arrays, strict=True):
            number, pattern, body = call
            try:
                self._respond(number, write(lane, lane.run(array), self._encode))
            except Exception as error:
                self._failed(number, pattern, len(body), run.begun, error, lane)
            else:
                self._done(run, [call])

    def _done(self, run: Run, calls: Sequence[tuple[int, Pattern, bytes]]) -> None:
        spec = calls[0][1].spec
        self._recorder.answered(
            model=spec.name,
            api="Predict",
            door="GRPC",
            code="OK",
            begun=run.begun,
            servable=run.lane.servable,
            signature=spec.signature,
            sizes=[len(body) for _, _, body in calls],
        )

    def _failed(
        self, number: int, pattern: Pattern, size: int, begun: float, error: Exception, lane: Lane | None = None
    ) -> None:
        if not isinstance(error, ServingError):
            log.error("a gRPC request failed", exc_info=error)
            error = ServingError("INTERNAL", INTERNAL)
        self._fail(number, error)
        self._recorder.answered(
            model=pattern.spec.name,
            api="Predict",
            door="GRPC",
            code=error.code,
            begun=begun,
            servable=lane.servable if lane else None,
            signature=pattern.spec.signature,
            sizes=[size],
        )
