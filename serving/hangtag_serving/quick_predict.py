"""Predict without reading what was read before: the usual request differs from the last one only in its pixels.

A PredictRequest with one numeric input in `tensor_content` is, around those bytes, the same from call to call. What
its head and tail meant is kept; a request that begins and ends like it, and is as long, needs no parsing. The same
goes for the answer around the numbers of one float output.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hangtag import tensors, wire
from hangtag.dialect_grpc import model_spec
from hangtag.dtypes import BY_NUMBER, STRING
from hangtag.model import ModelSpec
from hangtag.wire import WireError

from .grpc_service import Call, PredictRequest, checked, read_predict, response
from .servable import Servable
from .tensor_protos import Encode, decode, encode_content, number_of

_MAX_HEAD = 1024  # bytes around the content; longer ones are not kept
_MAX_KEPT = 256
_FLOAT = 1


class Asked(NamedTuple):
    """A request whose one input may be decoded already."""

    request: PredictRequest
    array: np.ndarray | None = None


class _Pattern(NamedTuple):
    head: bytes
    tail: bytes
    request: PredictRequest  # its `inputs` hold the alias alone
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int


class Reader:
    """Reads PredictRequests; safe in several threads, which at worst keep the same pattern twice."""

    def __init__(self) -> None:
        self._patterns: dict[int, list[_Pattern]] = {}  # by the length of the request
        self._kept = 0

    def read(self, body: bytes) -> Asked:
        """As `read_predict`, with the tensor where that is cheap; raises ServingError."""
        for pattern in self._patterns.get(len(body), ()):
            if body.startswith(pattern.head) and body.endswith(pattern.tail):
                flat = np.frombuffer(body, pattern.dtype, pattern.size, len(pattern.head))
                return Asked(pattern.request, flat.reshape(pattern.shape))
        request = read_predict(body)
        self._keep(body, request)
        return Asked(request)

    def _keep(self, body: bytes, request: PredictRequest) -> None:
        if len(request.inputs) != 1 or self._kept >= _MAX_KEPT:
            return
        ((alias, content),) = request.inputs.items()
        try:
            array = decode(content)
        except WireError:
            return
        if array.dtype.kind not in "fiub" or not array.size or array.flags.owndata:
            return
        begin = _address(array) - _address(np.frombuffer(body, np.uint8))
        end = begin + array.nbytes
        # A view of the body has its bytes in one place; what was decoded into other memory lies outside of it.
        if not 0 <= begin < end <= len(body) or begin + len(body) - end > _MAX_HEAD:
            return
        kept = PredictRequest(request.spec, {alias: memoryview(b"")}, request.output_filter)
        pattern = _Pattern(body[:begin], body[end:], kept, array.dtype, array.shape, array.size)
        self._patterns[len(body)] = [*self._patterns.get(len(body), ()), pattern]
        self._kept += 1


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def prepare(servable: Servable, asked: Asked) -> Call:
    """What to run; raises ServingError."""
    request, array = asked
    if array is None:
        return checked(servable, request)
    (alias,) = request.inputs
    key = (request.spec.signature, alias, *request.output_filter)
    outputs = servable.known_calls.get(key)
    if outputs is None:
        empty = tensors.head(BY_NUMBER[number_of(array)], (0,))  # any tensor will do to check the names
        outputs = checked(servable, request._replace(inputs={alias: memoryview(empty)})).outputs
        servable.known_calls[key] = outputs
    return Call(request.spec.signature, {alias: array}, outputs)


def write(servable: Servable, call: Call, arrays: list[np.ndarray], encode: Encode) -> bytes:
    """As `response`, with what stands around one float output from a cache."""
    array = arrays[0]
    if len(arrays) != 1 or array.dtype != np.float32 or not array.size:
        return response(servable, call, arrays, encode)
    field = 4 if encode is encode_content else 5  # tensor_content, float_val
    name = call.signature or "serving_default"
    head, tail = _around(servable.name, servable.version, name, call.outputs[0], array.shape, field)
    return b"".join((head, tensors.contiguous(array).data, tail))


@lru_cache(maxsize=1024)
def _around(
    name: str, version: int, signature: str, alias: str, shape: tuple[int, ...], field: int
) -> tuple[bytes, bytes]:
    size = int(np.prod(shape)) * 4
    tensor = tensors.head(BY_NUMBER[_FLOAT], shape) + wire.prefix(field, size)
    entry = wire.block(1, alias.encode()) + wire.prefix(2, len(tensor) + size) + tensor
    spec = wire.block(2, model_spec(ModelSpec(name, version, None, signature)))
    return wire.prefix(1, len(entry) + size) + entry, spec


def is_numeric(call: Call) -> bool:
    """Whether every input is an array of numbers."""
    return all(number_of(array) != STRING.number for array in call.inputs.values())
