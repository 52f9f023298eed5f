"""REST predict requests that are ready at the same moment, read by `json_fast` and answered together."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from hangtag.model import ModelSpec

from ..api.predict import check_method
from ..api.tensor_protos import number_of
from ..errors import ServingError
from ..json import outputs as json_outputs
from ..models.registry import Models
from ..models.servable import Servable
from ..request_log import Recorder
from .batch_target import Lane
from .bounded_cache import keep
from .coalescing import Call, Run, Runner
from .json_templates import Numbers, Reader

_PREDICT = re.compile(r"/v1/models/([^/:?]+)(?:/versions/(\d{1,18}))?:predict", re.ASCII)
_MAX_PATH = 256
_MAX_KNOWN = 512  # shapes of one version, and signatures: strangers choose them


class _Signature(NamedTuple):
    """A signature of one input."""

    alias: str
    dtype_number: int
    outputs: list[str]


class Asked(NamedTuple):
    """A predict request whose array is still text. `dtype_number` is that of the last one like it."""

    spec: ModelSpec
    numbers: Numbers
    dtype_number: int
    size: int


class Token(NamedTuple):
    """What `respond` is told of a request: the caller's own `of`, and whether it asked in row form."""

    of: Any
    as_rows: bool


class RestBursts:
    """Sorts and answers; may be used by several threads. `respond` and `fail` take what `sort` was given."""

    def __init__(
        self,
        models: Models,
        recorder: Recorder,
        reader: Reader,
        respond: Callable[[Any, bytes], object],
        fail: Callable[[Any, ServingError], object],
    ) -> None:
        self._models, self._reader, self._respond = models, reader, respond
        self._runner = Runner(recorder, "REST", self._write, lambda token, error: fail(token.of, error))
        self._dtypes: dict[tuple[ModelSpec, str], int] = {}
        self.answer = self._runner.answer

    def read(self, path: str, body: bytes) -> Asked | None:
        """A POST, if it is a usual predict request for a model that is served."""
        spec = _model(path) if len(path) <= _MAX_PATH else None
        numbers = self._reader.read(body) if spec is not None else None
        if spec is None or numbers is None:
            return None
        known = self._dtypes.get((spec, numbers.signature_name))
        if known is None:
            known = self._learn(spec, numbers.signature_name)
        return None if known is None else Asked(spec, numbers, known, len(body))

    def sort(self, requests: Iterable[tuple[Any, Asked, np.ndarray]]) -> tuple[list[Run], list[Any]]:
        """What can be run, and those that have to be read with more care."""
        begun = time.perf_counter()
        runs: list[Run] = []
        unread: list[Any] = []
        held: dict[ModelSpec, Servable] = {}
        try:
            for of, asked, array in requests:
                try:
                    if asked.spec not in held:
                        held[asked.spec] = self._models.acquire(asked.spec)
                    lane = _lane(held[asked.spec], asked.numbers.signature_name, array)
                except ServingError:  # whoever reads it with care will find the same, and has the words for it
                    lane = None
                if lane is None:
                    self._dtypes.pop((asked.spec, asked.numbers.signature_name), None)
                    unread.append(of)
                else:
                    call = Call(Token(of, asked.numbers.as_rows), array, asked.size)
                    self._runner.pack(runs, lane, [call], begun)
        finally:
            for servable in held.values():
                servable.release()
        return runs, unread

    def _learn(self, spec: ModelSpec, name: str) -> int | None:
        try:
            with self._models.use(spec) as servable:
                signature = _signature(servable, name)
        except ServingError:
            return None
        if signature is None:
            return None
        keep(self._dtypes, (spec, name), signature.dtype_number, _MAX_KNOWN)
        return signature.dtype_number

    def _write(self, lane: Lane, token: Token, arrays: list[np.ndarray]) -> None:
        outputs = dict(zip(lane.outputs, arrays, strict=True))
        self._respond(token.of, json_outputs.predictions(outputs, token.as_rows))


@lru_cache(maxsize=256)
def _model(path: str) -> ModelSpec | None:
    """What a predict path names, if it does so in the usual way."""
    match = _PREDICT.fullmatch(path)
    if match is None:
        return None
    name, version = match.groups()
    return ModelSpec(unquote(name), None if version is None else int(version))


def _signature(servable: Servable, name: str) -> _Signature | None:
    """A signature that takes one input and passes the checks that do not depend on a request."""
    known: _Signature | None = servable.single_inputs.get(name)
    if known is None:
        signature = servable.signature(name)
        if signature is None or len(signature.inputs) != 1:
            return None
        check_method(servable, signature)
        ((alias, spec),) = signature.inputs.items()
        known = servable.single_inputs[name] = _Signature(alias, spec.dtype, sorted(signature.outputs))
    return known


def _lane(servable: Servable, name: str, array: np.ndarray) -> Lane | None:
    key = (name, array.dtype, array.shape[1:])
    lane: Lane | None = servable.lanes.get(key)
    if lane is None:
        signature = _signature(servable, name)
        if signature is None or signature.dtype_number != number_of(array):
            return None
        lane = Lane(servable, name, signature.alias, signature.outputs, array.dtype, array.shape[1:])
        keep(servable.lanes, key, lane, _MAX_KNOWN)
    return lane
