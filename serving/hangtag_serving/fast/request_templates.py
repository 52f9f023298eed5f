"""Predict without reading what was read before: the usual request differs from the last one only in its pixels.

A PredictRequest with one numeric input in `tensor_content` is, around those bytes, the same from call to call. What
its head and tail meant is kept; a request that begins and ends like it, and is as long, needs no parsing. The same
goes for the answer around the numbers of one float output.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hangtag.model import ModelSpec
from hangtag.protocol import protobuf, tensors
from hangtag.protocol.dtypes import BY_NUMBER, STRING
from hangtag.protocol.grpc_codec import model_spec
from hangtag.protocol.protobuf import WireError

from ..api.grpc_methods import Checked, PredictRequest, checked, read_predict, response
from ..api.tensor_protos import Encode, decode, encode_content, number_of, parse
from ..errors import ServingError
from ..limits import Budget
from ..models.servable import Servable
from .batch_target import Lane
from .bounded_cache import keep

_MAX_HEAD = 1024  # bytes around the content; longer ones are not kept
_MAX_LENGTHS = 256  # of requests
_MAX_ALIKE = 16  # patterns of one length
_MAX_LANES = 512  # of one version: the shapes, too, are the clients' choice
_FLOAT = 1


@dataclass(frozen=True, eq=False, slots=True)
class Pattern:
    """What requests of one length, head and tail mean. `spec` and the names are theirs; `shape` is the input's."""

    head: bytes
    tail: bytes
    spec: ModelSpec
    alias: str
    output_filter: tuple[str, ...]
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    key: tuple[object, ...]
    """Requests of patterns with equal keys, answered by one version, may share a run."""

    def array(self, body: bytes) -> np.ndarray:
        """The input, of `shape`: a view of the request's memory."""
        return np.frombuffer(body, self.dtype, self.size, len(self.head)).reshape(self.shape)


class Reader:
    """Keeps patterns; safe in several threads, which at worst keep the same one twice."""

    def __init__(self) -> None:
        self._patterns: dict[int, list[Pattern]] = {}  # by the length of the request

    def find(self, body: bytes) -> Pattern | None:
        """The pattern of a request, if one like it has been learnt."""
        for pattern in self._patterns.get(len(body), ()):
            if body.startswith(pattern.head) and body.endswith(pattern.tail):
                return pattern
        return None

    def learn(self, body: bytes) -> None:
        """Keep the pattern of a request that was answered, if it has one."""
        if self.find(body) is not None:
            return
        try:
            pattern = _pattern(body, read_predict(body))
        except (WireError, ServingError):
            return
        if pattern is not None:
            alike = [*self._patterns.get(len(body), ()), pattern][-_MAX_ALIKE:]
            keep(self._patterns, len(body), alike, _MAX_LENGTHS)


def _pattern(body: bytes, request: PredictRequest) -> Pattern | None:
    if len(request.inputs) != 1:
        return None
    ((alias, message),) = request.inputs.items()
    number = message.proto.dtype
    if number not in BY_NUMBER or number == STRING.number:
        return None
    array = decode(message, Budget())
    if array.dtype.kind not in "fiub" or not array.size or not array.ndim or array.flags.owndata:
        return None
    begin = tensors.place_in(body, array)
    end = begin + array.nbytes
    # A view of the body has its bytes in one place; what was decoded into other memory lies outside of it.
    if not 0 <= begin < end <= len(body) or begin + len(body) - end > _MAX_HEAD:
        return None
    spec, filters = request.spec, tuple(request.output_filter)
    key = (spec.signature, alias, filters, array.dtype.str, array.shape[1:])
    return Pattern(body[:begin], body[end:], spec, alias, filters, array.dtype, array.shape, array.size, key)


def lane_of(servable: Servable, pattern: Pattern) -> Lane | None:
    """Where requests of a pattern run in this version; None if it takes another input that has a default.

    Raises ServingError if the version does not take them.
    """
    lane: Lane | None = servable.lanes.get(pattern.key)
    if lane is None:
        empty = tensors.head(BY_NUMBER[number_of(np.empty(0, pattern.dtype))], (0,))  # enough to check the names
        inputs = {pattern.alias: parse(memoryview(empty), Budget())}
        request = PredictRequest(pattern.spec, inputs, list(pattern.output_filter), Budget())
        call = checked(servable, request)
        if len(servable.signature(call.signature).inputs) != 1:
            return None
        lane = Lane(servable, call.signature, pattern.alias, call.outputs, pattern.dtype, pattern.shape[1:])
        keep(servable.lanes, pattern.key, lane, _MAX_LANES)
    return lane


def write(lane: Lane, arrays: list[np.ndarray], encode: Encode) -> bytes:
    """As `response`, with what stands around one float output from a cache."""
    array, servable = arrays[0], lane.servable
    if len(arrays) != 1 or array.dtype != np.float32 or not array.size or not array.flags.c_contiguous:
        return response(servable, Checked(lane.signature, {}, lane.outputs), arrays, encode)
    field = 4 if encode is encode_content else 5  # tensor_content, float_val
    name = lane.signature or "serving_default"
    head, tail = _around(servable.name, servable.version, name, lane.outputs[0], array.shape, field)
    return b"".join((head, array.data, tail))


@lru_cache(maxsize=1024)
def _around(
    name: str, version: int, signature: str, alias: str, shape: tuple[int, ...], field: int
) -> tuple[bytes, bytes]:
    size = int(np.prod(shape)) * 4
    tensor = tensors.head(BY_NUMBER[_FLOAT], shape) + protobuf.prefix(field, size)
    entry = protobuf.block(1, alias.encode()) + protobuf.prefix(2, len(tensor) + size) + tensor
    spec = protobuf.block(2, model_spec(ModelSpec(name, version, None, signature)))
    return protobuf.prefix(1, len(entry) + size) + entry, spec
