"""Predict calls that arrived together run together, without waiting for more.

Never mixed: versions, signatures, chosen outputs, shapes, dtypes. A run that fails is repeated call by call, so a bad
request fails alone. --enable_batching, which waits on purpose, is another thing: see `batching`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import merging
from .errors import ServingError
from .grpc_service import Call
from .models import Models
from .quick_predict import Asked, Reader, is_numeric, prepare, write
from .recorder import Recorder
from .servable import Servable
from .tensor_protos import Encode

log = logging.getLogger("hangtag.serving")

MAX_ROWS = 256

Respond = Callable[[int, bytes], object]  # call id, answer
Fail = Callable[[int, ServingError], object]


@dataclass
class _Call:
    number: int
    size: int
    begun: float
    asked: Asked | None = None
    servable: Servable | None = None
    call: Call | None = None
    key: merging.Key | None = None
    """Calls of equal key may run together."""


class BurstPredictor:
    """Answers bursts of Predict calls; may be used by several threads."""

    def __init__(self, models: Models, encode: Encode, recorder: Recorder, respond: Respond, fail: Fail) -> None:
        self._models, self._encode, self._recorder = models, encode, recorder
        self._respond, self._fail = respond, fail
        self._reader = Reader()

    def answer(self, calls: Sequence[tuple[int, bytes]]) -> None:
        """Answer each (call id, request) by `respond` or `fail`."""
        waiting: dict[object, list[_Call]] = {}
        for number, body in calls:
            call = _Call(number, len(body), time.perf_counter())
            try:
                key = self._read(call, body)
            except Exception as error:
                self._failed(call, error)
                continue
            waiting.setdefault(key if key is not None else number, []).append(call)
        for group in waiting.values():
            while group:
                self._run(_take(group))

    def _read(self, call: _Call, body: bytes) -> object:
        call.asked = self._reader.read(body)
        call.servable = self._models.acquire(call.asked.request.spec)
        call.call = prepare(call.servable, call.asked)
        if is_numeric(call.call):
            call.key = merging.key_of(call.servable, call.call)
        return call.key

    def _run(self, group: list[_Call]) -> None:
        if len(group) > 1 and self._run_together(group):
            return
        for call in group:
            assert call.servable is not None and call.call is not None  # noqa: S101, PT018 - read
            try:
                self._answered(call, merging.timed_run(call.servable, call.call, call.key))
            except Exception as error:
                self._failed(call, error)

    def _run_together(self, group: list[_Call]) -> bool:
        servable, calls = group[0].servable, [call.call for call in group if call.call is not None]
        assert servable is not None  # noqa: S101 - read
        key = group[0].key
        assert key is not None  # noqa: S101 - only calls with a key are grouped
        if not merging.pays(servable, key, [merging.rows_of(call) or 0 for call in calls]):
            return False
        if not merging.is_row_wise(servable, calls[0], key):
            return False
        try:
            results = merging.run_together(servable, calls, key)
        except ServingError:
            return False
        if results is None:
            return False
        self._recorder.metrics.burst_rows.observe(sum(merging.rows_of(call) or 0 for call in calls))
        for call, arrays in zip(group, results, strict=True):
            try:
                self._answered(call, arrays)
            except Exception as error:
                self._failed(call, error)
        return True

    def _answered(self, call: _Call, arrays: list[np.ndarray]) -> None:
        assert call.servable is not None and call.call is not None  # noqa: S101, PT018 - read
        self._respond(call.number, write(call.servable, call.call, arrays, self._encode))
        self._done(call, "OK")

    def _failed(self, call: _Call, error: Exception) -> None:
        if not isinstance(error, ServingError):
            log.error("a gRPC request failed", exc_info=error)
            error = ServingError("INTERNAL", "internal error; the server's log has the reason")
        self._fail(call.number, error)
        self._done(call, error.code)

    def _done(self, call: _Call, code: str) -> None:
        spec = call.asked.request.spec if call.asked else None
        self._recorder.answered(
            model=spec.name if spec else "",
            api="Predict",
            door="GRPC",
            code=code,
            begun=call.begun,
            servable=call.servable,
            signature=spec.signature if spec else "",
            size=call.size,
        )
        if call.servable is not None:
            call.servable.release()


def _take(group: list[_Call]) -> list[_Call]:
    """Remove and return as many calls from the front as fit into one run, at least one."""
    taken = [group.pop(0)]
    rows = _rows(taken[0])
    while group and rows + _rows(group[0]) <= MAX_ROWS:
        rows += _rows(group[0])
        taken.append(group.pop(0))
    return taken


def _rows(call: _Call) -> int:
    return (merging.rows_of(call.call) or 0) if call.call is not None else 0
