"""The fast path of REST predict: requests of the most common form are read by templates and run in batches."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import numpy as np

from hangtag.model import ModelSpec

from ..api.predict import check_method
from ..api.rest_resources import Answer, refusal
from ..bounded_cache import BoundedCache
from ..errors import ServingError
from ..json import outputs as json_outputs
from ..limits import DEFAULT, Budget, Limits
from ..models.registry import Models
from ..models.servable import PREPARED_BYTES, Servable
from ..request_log import Recorder
from ..tensors.types import number_of
from .batch_target import BatchTarget
from .coalescing import Batch, BatchRunner, Call
from .json_arrays import LARGE_BYTES, JsonArray, JsonTemplates, read_numbers
from .json_workers import JsonWorkers, worker_count

log = logging.getLogger("hangtag.serving")

_NAME = r"(?:[\w.~-]|%[0-9a-fA-F]{2})+"  # paths with other characters take the plain path
_PREDICT = re.compile(rf"/v1/models/({_NAME})(?:/versions/(\d{{1,18}}))?:predict", re.ASCII)
_MAX_PATH = 256
_PARSED = 8  # memory for parsing, in multiples of the text; the plain path counts larger arrays value by value
_MAX_DTYPES, _MAX_DTYPE_BYTES = 512, 1 << 20  # cached dtypes of signatures, limited because clients choose the names
_DTYPE_BYTES = 512  # memory of one of them, without the names
_INLINE_SECONDS = 0.001  # a batch that is expected to take longer runs in the pool
_INLINE_BYTES = 128 << 10  # of an array; a longer one is parsed in the pool


class Host(Protocol):
    """What the fast path needs from the HTTP server. Only `answered` may be called in any thread."""

    loop: asyncio.AbstractEventLoop
    pool: ThreadPoolExecutor

    def answered(self, origin: Any, answer: Answer) -> None:
        """Send the answer to a request."""

    def answer_plainly(self, origin: Any) -> None:
        """Answer a request by the plain path."""


class _Request(NamedTuple):
    """A request whose array is still text. `dtype_number` is the dtype of the last similar request."""

    origin: Any
    spec: ModelSpec
    numbers: JsonArray
    dtype_number: int
    size: int


class _ReplyTo(NamedTuple):
    origin: Any
    as_rows: bool


class RestFastPath:
    """Answers the requests that it can read. `shares_runs` is False if --enable_batching makes the batches."""

    def __init__(
        self,
        host: Host,
        models: Models,
        recorder: Recorder,
        *,
        max_json_depth: int,
        limits: Limits = DEFAULT,
        shares_runs: bool,
    ) -> None:
        self._host, self._models, self._metrics = host, models, recorder.metrics
        self._max_depth, self._limits, self._shares_runs = max_json_depth, limits, shares_runs
        self._templates = JsonTemplates()
        self._dtypes: BoundedCache[tuple[ModelSpec, str], int] = BoundedCache(_MAX_DTYPES, _MAX_DTYPE_BYTES)
        self._runner = BatchRunner(recorder, "REST", self._write, self._fail, shares_runs=shares_runs)
        self._workers = JsonWorkers(host.loop, worker_count())
        # One thread of the pool at a time parses: parsing holds the interpreter's lock, and several threads would only
        # take it from one another.
        self._parsing = threading.Lock()
        self._parsed: list[tuple[_Request, np.ndarray]] = []

    def close(self) -> None:
        """End the worker processes. Call it in the loop's thread."""
        self._workers.close()

    def take(self, origin: Any, path: str, body: bytes) -> bool:
        """Answer a POST now or later; returns False if this path cannot read it."""
        spec = _model(path) if len(path) <= _MAX_PATH else None
        numbers = self._templates.match(body) if spec is not None else None
        if spec is None or numbers is None or _PARSED * len(numbers.text) > self._limits.tensor_bytes:
            return False
        dtype_number = self._dtypes.get((spec, numbers.signature_name))
        if dtype_number is None:
            dtype_number = self._learn(spec, numbers.signature_name)
            if dtype_number is None:
                return False
        self._parse(_Request(origin, spec, numbers, dtype_number, len(body)))
        return True

    # ---- 1. text to array

    def _parse(self, request: _Request) -> None:
        """Parse a small array here, and a large one in a worker process or, if that is quicker, in this process."""
        if len(request.numbers.text) < LARGE_BYTES:
            self._add_parsed(request, read_numbers(*self._arguments(request)))
        elif self._workers.submit(
            *self._arguments(request), partial(self._add_parsed, request), partial(self._parse_in_server, request)
        ):
            self._metrics.json_parses.add("worker")
        else:
            self._parse_in_server(request)

    def _arguments(self, request: _Request) -> tuple[memoryview, int, int]:
        return request.numbers.text, request.dtype_number, self._max_depth

    def _parse_in_server(self, request: _Request) -> None:
        """Parse an array here if that takes about a millisecond, else in the pool: the loop should not wait longer."""
        self._metrics.json_parses.add("server")
        finished = self._workers.started_elsewhere(len(request.numbers.text))

        def parse() -> None:
            with self._parsing:
                array = read_numbers(*self._arguments(request))
            with suppress(RuntimeError):  # the loop is closed after the grace period
                self._host.loop.call_soon_threadsafe(done, array)

        def done(array: np.ndarray | None) -> None:
            finished()
            self._add_parsed(request, array)

        if len(request.numbers.text) < _INLINE_BYTES:
            self._add_parsed(request, read_numbers(*self._arguments(request)))
            self._host.loop.call_soon(finished)  # after the answer, to be compared with a worker that leaves this to us
        else:
            self._host.pool.submit(parse)

    # ---- 2. arrays to batches, after everything that has arrived is parsed

    def _add_parsed(self, request: _Request, array: np.ndarray | None) -> None:
        if array is None:
            self._host.answer_plainly(request.origin)
            return
        if not self._parsed:
            self._host.loop.call_soon(self._answer_parsed)
        self._parsed.append((request, array))

    def _answer_parsed(self) -> None:
        parsed, self._parsed = self._parsed, []
        batches, unmatched = self._sort(parsed)
        for batch in batches:
            if self._shares_runs and 0 < batch.expected_seconds < _INLINE_SECONDS:
                self._runner.answer(batch)
            else:
                self._host.pool.submit(self._runner.answer, batch)
        for request in unmatched:
            self._host.answer_plainly(request.origin)

    def _sort(self, parsed: Iterable[tuple[_Request, np.ndarray]]) -> tuple[list[Batch], list[_Request]]:
        """Batches to answer, and the requests that the plain path must answer."""
        begun = time.perf_counter()
        batches: list[Batch] = []
        unmatched: list[_Request] = []
        held: dict[ModelSpec, Servable] = {}
        try:
            for request, array in parsed:
                spec, numbers = request.spec, request.numbers
                try:
                    if spec not in held:
                        held[spec] = self._models.acquire(spec)
                    target = _target(held[spec], numbers.signature_name, array)
                except ServingError:  # the plain path will report the same error
                    target = None
                except Exception:
                    log.exception("a REST request could not be put into a batch")
                    target = None
                if target is None:
                    self._dtypes.remove((spec, numbers.signature_name))
                    unmatched.append(request)
                else:
                    call = Call(_ReplyTo(request.origin, numbers.as_rows), array, request.size)
                    self._runner.add(batches, target, [call], begun)
        finally:
            for servable in held.values():
                servable.release()
        return batches, unmatched

    def _learn(self, spec: ModelSpec, name: str) -> int | None:
        try:
            with self._models.use(spec) as servable:
                signature = _signature(servable, name)
        except ServingError:
            return None
        if signature is None:
            return None
        self._dtypes.put((spec, name), signature.dtype_number, len(spec.name) + len(name) + _DTYPE_BYTES)
        return signature.dtype_number

    # ---- 3. outputs to answers

    def _write(self, target: BatchTarget, reply_to: _ReplyTo, arrays: list[np.ndarray]) -> None:
        outputs = dict(zip(target.outputs, arrays, strict=True))
        body = json_outputs.predictions(outputs, reply_to.as_rows, Budget(self._limits))
        self._host.answered(reply_to.origin, Answer(200, body))

    def _fail(self, reply_to: _ReplyTo, error: ServingError) -> None:
        self._host.answered(reply_to.origin, refusal(error))


class _Signature(NamedTuple):
    """A signature of one input."""

    alias: str
    dtype_number: int
    outputs: list[str]


@lru_cache(maxsize=256)
def _model(path: str) -> ModelSpec | None:
    """The model in a predict path; None if the path has a less common form."""
    match = _PREDICT.fullmatch(path)
    if match is None:
        return None
    name, version = match.groups()
    return ModelSpec(unquote(name), None if version is None else int(version))


def _signature(servable: Servable, name: str) -> _Signature | None:
    """A signature with one input that passes the checks which do not depend on a request; None for others."""
    key = "signature", name
    known: _Signature | None = servable.prepared.get(key)
    if known is None:
        signature = servable.signature(name)
        if signature is None or len(signature.inputs) != 1:
            return None
        check_method(servable, signature)
        ((alias, spec),) = signature.inputs.items()
        known = _Signature(alias, spec.dtype, sorted(signature.outputs))
        servable.prepared.put(key, known, PREPARED_BYTES)
    return known


def _target(servable: Servable, name: str, array: np.ndarray) -> BatchTarget | None:
    key = (name, array.dtype, array.shape[1:])
    target: BatchTarget | None = servable.prepared.get(key)
    if target is None:
        signature = _signature(servable, name)
        if signature is None or signature.dtype_number != number_of(array):
            return None
        target = BatchTarget(servable, name, signature.alias, signature.outputs, array.dtype, array.shape[1:])
        servable.prepared.put(key, target, PREPARED_BYTES)
    return target
