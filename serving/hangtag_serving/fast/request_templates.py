"""Reads gRPC Predict requests without parsing: most differ from an earlier one only in the bytes of their array.

A PredictRequest with one numeric input in `tensor_content` has the same bytes around that content in every call. A
template has the meaning of these bytes, so a request of the same length, head and tail needs no parsing. Responses with
one float output are written in the same way.
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
from ..bounded_cache import BoundedCache
from ..errors import ServingError
from ..limits import Budget
from ..models.servable import PREPARED_BYTES, Servable
from ..tensors.decoding import decode, parse
from ..tensors.encoding import Encode, encode_content
from ..tensors.types import number_of
from .batch_target import BatchTarget

_MAX_AROUND = 1024  # bytes around the content
_MAX_LENGTHS = 256  # different lengths of requests
_MAX_PER_LENGTH = 16  # templates of one length
_MAX_BYTES = 4 << 20  # of all templates
_TEMPLATE_BYTES = 1024  # memory of a template, without the bytes around the content
_FLOAT = 1


@dataclass(frozen=True, eq=False, slots=True)
class Template:
    """The meaning of requests with this length, head and tail. `shape` is the shape of the input."""

    head: bytes
    tail: bytes
    spec: ModelSpec
    alias: str
    output_filter: tuple[str, ...]
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    key: tuple[object, ...]
    """Requests of templates with equal keys may run together, if the same version answers them."""

    def array(self, body: bytes) -> np.ndarray:
        """The input, as a view of the request's memory."""
        return np.frombuffer(body, self.dtype, self.size, len(self.head)).reshape(self.shape)


class RequestTemplates:
    """The known templates. Thread-safe; two threads may learn the same template."""

    def __init__(self) -> None:
        self._by_length: BoundedCache[int, list[Template]] = BoundedCache(_MAX_LENGTHS, _MAX_BYTES)

    def find(self, body: bytes) -> Template | None:
        """The template that matches a request, if any."""
        for template in self._by_length.get(len(body)) or ():
            if body.startswith(template.head) and body.endswith(template.tail):
                return template
        return None

    def learn(self, body: bytes) -> None:
        """Add the template of a request that was answered, if it can have one."""
        if self.find(body) is not None:
            return
        try:
            template = _template(body, read_predict(body))
        except (WireError, ServingError):
            return
        if template is not None:
            alike = [*(self._by_length.get(len(body)) or ()), template][-_MAX_PER_LENGTH:]
            size = sum(len(other.head) + len(other.tail) + _TEMPLATE_BYTES for other in alike)
            self._by_length.put(len(body), alike, size)


def _template(body: bytes, request: PredictRequest) -> Template | None:
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
    # Only an array that is a view of the body has its memory inside the body.
    if not 0 <= begin < end <= len(body) or begin + len(body) - end > _MAX_AROUND:
        return None
    spec, filters = request.spec, tuple(request.output_filter)
    key = (spec.signature, alias, filters, array.dtype.str, array.shape[1:])
    return Template(body[:begin], body[end:], spec, alias, filters, array.dtype, array.shape, array.size, key)


def target_of(servable: Servable, template: Template) -> BatchTarget | None:
    """The target for requests of a template in this version; None if the signature has more inputs, with defaults.

    Raises ServingError if the version does not accept the requests.
    """
    target: BatchTarget | None = servable.prepared.get(template.key)
    if target is None:
        empty = tensors.head(BY_NUMBER[number_of(np.empty(0, template.dtype))], (0,))  # enough to check the names
        inputs = {template.alias: parse(memoryview(empty), Budget())}
        request = PredictRequest(template.spec, inputs, list(template.output_filter), Budget())
        call = checked(servable, request)
        if len(servable.signature(call.signature).inputs) != 1:
            return None
        target = BatchTarget(servable, call.signature, template.alias, call.outputs, template.dtype, template.shape[1:])
        servable.prepared.put(template.key, target, PREPARED_BYTES)
    return target


def write_response(target: BatchTarget, arrays: list[np.ndarray], encode: Encode) -> bytes:
    """Like `response`, but for one float output the bytes around the numbers come from a cache."""
    array, servable = arrays[0], target.servable
    if len(arrays) != 1 or array.dtype != np.float32 or not array.size or not array.flags.c_contiguous:
        return response(servable, Checked(target.signature, {}, target.outputs), arrays, encode)
    field = 4 if encode is encode_content else 5  # tensor_content, float_val
    name = target.signature or "serving_default"
    head, tail = _around(servable.name, servable.version, name, target.outputs[0], array.shape, field)
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
