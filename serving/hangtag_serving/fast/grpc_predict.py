"""The fast path of gRPC Predict: calls that match a template become batches without being parsed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import ServingError
from ..models.registry import Models
from ..request_log import Recorder
from ..tensors.encoding import Encode
from .batch_target import BatchTarget
from .coalescing import Batch, BatchRunner, Call
from .request_templates import RequestTemplates, Template, target_of, write_response

log = logging.getLogger("hangtag.serving")

Unmatched = list[tuple[Any, bytes]]
"""The `reply_to` and the request of each call."""


class GrpcFastPath:
    """Sorts calls into batches and answers batches. Thread-safe.

    `respond` and `fail` answer a call; their first argument is the `reply_to` that was given to `sort`. The plain path
    answers a request that does not match a template; `learn` then makes its template.
    """

    def __init__(
        self,
        models: Models,
        encode: Encode,
        recorder: Recorder,
        respond: Callable[[Any, bytes], object],
        fail: Callable[[Any, ServingError], object],
    ) -> None:
        self._models, self._encode, self._respond = models, encode, respond
        self._templates = RequestTemplates()
        self._runner = BatchRunner(recorder, "GRPC", self._write, fail, shares_runs=True)
        self.answer = self._runner.answer
        self.learn = self._templates.learn

    def sort(self, calls: Iterable[tuple[Any, bytes]]) -> tuple[list[Batch], Unmatched]:
        """Batches to answer, and the calls that the plain path must answer."""
        begun = time.perf_counter()
        by_template: dict[Template, Unmatched] = {}
        unmatched: Unmatched = []
        for reply_to, body in calls:
            template = self._templates.find(body)
            if template is None:
                unmatched.append((reply_to, body))
            else:
                by_template.setdefault(template, []).append((reply_to, body))
        batches: list[Batch] = []
        for template, matched in by_template.items():
            try:
                added = self._add(batches, template, matched, begun)
            except ServingError:
                added = False  # the plain path will report the same error
            except Exception:
                log.exception("gRPC calls could not be put into batches")
                added = False
            if not added:
                unmatched += matched
        return batches, unmatched

    def _add(self, batches: list[Batch], template: Template, matched: Unmatched, begun: float) -> bool:
        servable = self._models.acquire(template.spec)
        try:
            target = target_of(servable, template)
            if target is None:
                return False
            calls = [Call(reply_to, template.array(body), len(body)) for reply_to, body in matched]
            self._runner.add(batches, target, calls, begun)
            return True
        finally:
            servable.release()

    def _write(self, target: BatchTarget, reply_to: Any, arrays: list[np.ndarray]) -> None:
        self._respond(reply_to, write_response(target, arrays, self._encode))


Make = Callable[[Callable[[Any, bytes], object], Callable[[Any, ServingError], object]], GrpcFastPath]
"""Makes a fast path from a server's functions `respond` and `fail`."""
