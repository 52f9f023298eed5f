"""Decodes the TensorProtos of requests, in every form that TensorFlow accepts.

Protobuf parses a message, so malformed ones are refused as in C++. Only the large fields are not copied into it.
Source: tensorflow/core/framework/{tensor.proto,tensor.cc}.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from hangtag.optional import require
from hangtag.protocol import dtypes, protobuf
from hangtag.protocol.protobuf import WireError
from hangtag.protocol.tensors import MAX_RANK, encoded_strings

from ..limits import MAX_FILLED_BYTES, STRING_BYTES, Budget
from .image_sizes import check_images
from .types import RESOURCE, VARIANT, numpy_dtype, short_name

_CONTENT, _STRINGS = 4, 8  # TensorProto.tensor_content, string_val
_LEFT_IN_PLACE = {_CONTENT: 1, 5: 4, 9: 4, 6: 8, 12: 8}  # field to the size of its numbers in bytes
_FLOATS = {5: "float_val", 6: "double_val", 9: "scomplex_val", 12: "dcomplex_val"}  # fields of fixed width

_BLOCK_BYTES = 200  # memory of a block as an object, without its content
_EXPANDED = 24  # memory that each byte of the other fields may need as objects

_MAX_ELEMENTS = 2**63 - 1


class TensorMessage(NamedTuple):
    """A TensorProto, parsed; `blocks` are the packed fields of `_LEFT_IN_PLACE` by number, views of the request."""

    proto: Any
    blocks: dict[int, list[memoryview]]


def parse(content: memoryview, budget: Budget) -> TensorMessage:
    """Parse a TensorProto; raises WireError if it is malformed, ServingError if it needs too much memory."""
    blocks: dict[int, list[memoryview]] = {}
    rest = _other_fields(content, blocks, budget)
    try:
        return TensorMessage(_message().FromString(bytes(rest)), blocks)
    except Exception as error:  # protobuf's DecodeError, whose module depends on the implementation
        raise WireError(str(error)) from error


def _other_fields(content: memoryview, blocks: dict[int, list[memoryview]], budget: Budget) -> bytearray:
    """The bytes of the fields that protobuf parses; the other fields are added to `blocks`."""
    rest = bytearray()
    for field, kind, value in protobuf.fields(content):
        if isinstance(value, int):
            budget.take(_EXPANDED)
            rest += protobuf.number(field, value)
        elif kind == protobuf.LENGTH and field in _LEFT_IN_PLACE:
            budget.take(_BLOCK_BYTES)
            if len(value) % _LEFT_IN_PLACE[field]:
                raise WireError("a list of numbers is cut off")
            if field == _CONTENT:
                blocks[field] = [value]
            else:
                blocks.setdefault(field, []).append(value)
        elif kind == protobuf.LENGTH:
            budget.take(STRING_BYTES + len(value) * (1 if field == _STRINGS else _EXPANDED))
            rest += protobuf.prefix(field, len(value))
            rest += value
        else:
            budget.take(_EXPANDED)
            rest += protobuf.varint(field << 3 | kind)
            rest += value
    return rest


def decode(message: TensorMessage, budget: Budget) -> np.ndarray:
    """The array in a TensorProto, as Tensor::FromProto reads it; raises WireError if the message is invalid.

    Numeric arrays may be read-only views of the request. Resources and variants become arrays without values.
    """
    proto = message.proto
    dtype = numpy_dtype(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = _size(shape)
    if dtype is None:
        raise WireError(f"a tensor of type {proto.dtype}")
    flat = np.empty(0, dtype) if not size else _values(message, dtype, size, budget)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # numpy has at most 64 dimensions, TensorFlow 254
        raise WireError(f"a tensor of {len(shape)} dimensions, {list(shape[:8])} first: {error}") from error


def _size(shape: Sequence[int]) -> int:
    size = 1
    for dim in shape:
        size *= dim
        if dim < 0 or size > _MAX_ELEMENTS:
            raise WireError(f"a tensor of shape {list(shape[:8])}")
    if len(shape) > MAX_RANK:
        raise WireError(f"a tensor of {len(shape)} dimensions")
    return size


def _values(message: TensorMessage, dtype: np.dtype, size: int, budget: Budget) -> np.ndarray:
    proto = message.proto
    content = (message.blocks.get(_CONTENT) or [memoryview(proto.tensor_content)])[0]
    if proto.dtype in (RESOURCE, VARIANT):
        if size > 1 or len(content):
            raise WireError("several resources, which end the C++ server")
        return np.empty(1, dtype)
    if proto.dtype == dtypes.STRING.number:
        if len(content):
            budget.take(min(size, len(content)) * STRING_BYTES)
            flat = encoded_strings(content, size)
        else:
            flat = _filled(_objects(list(proto.string_val)), size, b"")
        check_images(flat.tolist(), budget)
        return flat
    if not len(content):
        return _filled(_typed(message, dtype), size, 0)
    if len(content) != size * dtype.itemsize:
        raise WireError(f"a tensor of {size} values with {len(content)} bytes of content")
    flat = np.frombuffer(content, dtype)
    if dtype == np.bool_ and int(flat.view(np.uint8).max()) > 1:
        raise WireError("a bool that is neither 0 nor 1")
    return flat


def _typed(message: TensorMessage, dtype: np.dtype) -> np.ndarray:
    """The values of float_val, int_val and similar fields, cast to the tensor's type as in C++."""
    proto, number = message.proto, message.proto.dtype
    known = dtypes.BY_NUMBER.get(number)
    if known is not None and known.field in _FLOATS:
        real = np.dtype("<f4" if known.field in (5, 9) else "<f8")
        listed = np.array(getattr(proto, _FLOATS[known.field]), real)
        parts = [np.frombuffer(block, real) for block in message.blocks.get(known.field, ())]
        flat = parts[0] if len(parts) == 1 and not listed.size else np.concatenate([listed, *parts])
        unit = dtype.itemsize // real.itemsize
        return flat[: flat.size // unit * unit].view(dtype)  # a real part without an imaginary part is ignored
    if short_name(number).startswith("float8"):
        return np.frombuffer(proto.float8_val, dtype)
    field, as_read = _FIELDS.get(number, ("int_val", np.int64))
    values = getattr(proto, field)
    integers = np.fromiter(values, as_read, len(values))
    if field == "half_val":
        return integers.astype("<u2").view(dtype)
    if dtype.names:  # a quantised type
        return integers.astype(dtype[0]).view(dtype)
    return integers.astype(dtype)


_FIELDS: dict[int, tuple[str, Any]] = {
    9: ("int64_val", np.int64),
    10: ("bool_val", np.bool_),
    14: ("half_val", np.int64),
    19: ("half_val", np.int64),
    22: ("uint32_val", np.uint64),
    23: ("uint64_val", np.uint64),
}
"""DataType to its field and the numpy type of the field's values, for types that do not use `int_val`."""


def _filled(flat: np.ndarray, size: int, default: object) -> np.ndarray:
    """`flat` with `size` values: a short list repeats its last value (`default` if empty), a long one is cut."""
    if flat.size >= size:
        return flat[:size]
    # TensorFlow copies the string for each element.
    unit = STRING_BYTES + len(flat[-1]) if flat.dtype == object and flat.size else flat.itemsize
    if (size - flat.size) * unit > MAX_FILLED_BYTES:
        raise WireError(f"a tensor of {size} values, of which {flat.size} were sent")
    if flat.size:
        return np.concatenate((flat, np.repeat(flat[-1:], size - flat.size)))
    return _objects([default] * size) if flat.dtype == object else np.zeros(size, flat.dtype)


def _objects(items: Sequence[object]) -> np.ndarray:
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat


@cache
def _message() -> Any:
    return require("tensorflow.core.framework.tensor_pb2", extra="serving", what="hangtag serve").TensorProto
