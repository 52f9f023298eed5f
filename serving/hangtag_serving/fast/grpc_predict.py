"""Bursts of gRPC Predict calls: those that are like earlier ones become runs, without being parsed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from ..api.tensor_protos import Encode
from ..errors import ServingError
from ..models.registry import Models
from ..request_log import Recorder
from .batch_target import Lane
from .coalescing import Call, Run, Runner
from .request_templates import Pattern, Reader, lane_of, write

Unread = list[tuple[int, bytes]]  # call id, request


class GrpcBursts:
    """Sorts and answers; may be used by several threads. `respond` and `fail` take the id of a call."""

    def __init__(
        self,
        models: Models,
        encode: Encode,
        recorder: Recorder,
        respond: Callable[[int, bytes], object],
        fail: Callable[[int, ServingError], object],
    ) -> None:
        self._models, self._encode, self._respond = models, encode, respond
        self._reader = Reader()
        self._runner = Runner(recorder, "GRPC", self._write, fail)
        self.answer = self._runner.answer
        self.learn = self._reader.learn

    def sort(self, calls: Iterable[tuple[int, bytes]]) -> tuple[list[Run], Unread]:
        """What can be run, and the calls that have to be read first, each by itself."""
        begun = time.perf_counter()
        by_pattern: dict[Pattern, Unread] = {}
        unread: Unread = []
        for number, body in calls:
            pattern = self._reader.find(body)
            if pattern is None:
                unread.append((number, body))
            else:
                by_pattern.setdefault(pattern, []).append((number, body))
        runs: list[Run] = []
        for pattern, alike in by_pattern.items():
            try:
                taken = self._pack(runs, pattern, alike, begun)
            except ServingError:
                taken = False  # whoever reads them will find the same, and has the words for it
            if not taken:
                unread += alike
        return runs, unread

    def _pack(self, runs: list[Run], pattern: Pattern, alike: Unread, begun: float) -> bool:
        servable = self._models.acquire(pattern.spec)
        try:
            lane = lane_of(servable, pattern)
            if lane is None:
                return False
            calls = [Call(number, pattern.array(body), len(body)) for number, body in alike]
            self._runner.pack(runs, lane, calls, begun)
            return True
        finally:
            servable.release()

    def _write(self, lane: Lane, number: int, arrays: list[np.ndarray]) -> None:
        self._respond(number, write(lane, arrays, self._encode))
