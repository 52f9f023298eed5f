"""Encodes numpy arrays as TensorProto and decodes them, without protobuf.

Source: tensorflow/core/framework/tensor.proto and tensor_shape.proto. Numbers are written as `tensor_content` (one
copy of the array's memory, little endian) and strings as `string_val`; every form that a server may send is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from . import dtypes, protobuf
from .dtypes import BFLOAT16, STRING, DataType
from .protobuf import WireError

MAX_RANK = 254
"""TensorFlow's own limit on the number of dimensions."""

MAX_FILLED_BYTES = 1 << 26
"""The largest array that is filled by repeating a value: a list shorter than its shape repeats its last value."""

_LENGTH_BYTES = 5  # of a uint32 as a varint

_VALUE_FIELDS = frozenset(row.field for row in dtypes.BY_NUMBER.values())


class Stack:
    """Arrays of the same dtype and row shape that are sent as one array, without being copied together."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = parts
        self.dtype: np.dtype = parts[0].dtype
        self._rows = sum(len(part) for part in parts)
        self.shape: tuple[int, ...] = (self._rows, *parts[0].shape[1:])

    def __len__(self) -> int:
        return self._rows

    def joined(self) -> np.ndarray:
        """All parts as one array."""
        return np.concatenate(self.parts)


Inputs = Mapping[str, np.ndarray | Stack]
"""What a request holds, by input name."""


def place_in(body: bytes, array: np.ndarray) -> int:
    """The offset of the memory of `array` from that of `body`; within the body only if `array` is a view of it."""
    return _address(array) - _address(np.frombuffer(body, np.uint8))


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def contiguous(array: np.ndarray) -> np.ndarray:
    """`array` in the memory layout of `tensor_content`: C order, little endian. Copied only if necessary."""
    if array.itemsize == 1 and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def head(dtype: DataType, shape: tuple[int, ...]) -> bytes:
    """The first two fields of a TensorProto: dtype and shape."""
    dims = b"".join(protobuf.block(2, protobuf.number(1, size) if size else b"") for size in shape)
    return protobuf.number(1, dtype.number) + protobuf.block(2, dims)


def encode(array: np.ndarray) -> bytes:
    """A complete TensorProto. For numeric inputs, `grpc_codec` joins the parts itself to avoid this copy."""
    dtype = dtypes.of_array(array)
    start = head(dtype, array.shape)
    if dtype is STRING:
        return start + _string_values(as_bytes(array))
    if not array.size:
        return start
    return b"".join((start, protobuf.prefix(4, array.nbytes), contiguous(array).data))


def _string_values(strings: list[bytes]) -> bytes:
    """The field `string_val`. It may have a million strings, so each length is encoded only once."""
    prefixes = {size: protobuf.prefix(8, size) for size in set(map(len, strings))}
    parts = [b""] * (2 * len(strings))
    parts[::2] = [prefixes[size] for size in map(len, strings)]
    parts[1::2] = strings
    return b"".join(parts)


def as_bytes(array: np.ndarray) -> list[bytes]:
    """The elements of a string array in one flat list; text is encoded as UTF-8."""
    return [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]


def decode(buffer: memoryview) -> np.ndarray:
    """The array in a TensorProto. Strings become an object array of bytes, bfloat16 becomes float32.

    Numeric arrays from `tensor_content` are read-only views of `buffer`.
    """
    dtype: DataType | None = None
    shape: tuple[int, ...] = ()
    content = memoryview(b"")
    values: dict[int, list[protobuf.Value]] = {}
    for field, _, value in protobuf.fields(buffer):
        if field == 1:
            dtype = dtypes.BY_NUMBER.get(protobuf.as_int(value))
        elif field == 2:
            shape = _shape(protobuf.as_block(value))
        elif field == 4:
            content = protobuf.as_block(value)
        elif field in _VALUE_FIELDS:
            values.setdefault(field, []).append(value)
    if dtype is None:
        raise WireError("a tensor of no known dtype")
    size = math.prod(shape)
    if dtype is STRING:
        flat = _strings(values.get(8, []), size) if not len(content) else encoded_strings(content, size)
    elif len(content):
        if len(content) != size * dtype.numpy.itemsize:
            raise WireError(f"a tensor of shape {list(shape)} with {len(content)} bytes of content")
        flat = np.frombuffer(content, dtype.numpy)
    else:
        flat = _fill(_typed(dtype, values.get(dtype.field, [])), size)
    if dtype is BFLOAT16:
        flat = dtypes.from_bfloat16(flat)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # numpy has at most 64 dimensions, and refuses one of 2**62 even beside one of 0
        raise WireError(f"a tensor of {len(shape)} dimensions, {list(shape[:8])} first: {error}") from error


def encoded_strings(content: memoryview, size: int) -> np.ndarray:
    """The `size` strings in a `tensor_content`: all lengths as varints, then the bytes of all strings.

    Servers with --enable_serialization_as_tensor_content write this. Source: EncodeStringList in
    tensorflow/core/platform/tensor_coding.cc.
    """
    if size > len(content):  # each length takes a byte at least
        raise WireError(f"a tensor of {size} strings with {len(content)} bytes of content")
    octets = np.frombuffer(content[: size * _LENGTH_BYTES], np.uint8)  # no more, because each position takes 8 bytes
    ends = np.flatnonzero(octets < 0x80)[:size]
    if len(ends) < size:
        raise WireError("a list of strings is cut off")
    start = int(ends[-1]) + 1 if size else 0
    lengths = protobuf.packed_varints(content[:start]).tolist()
    if start + sum(lengths) != len(content):
        raise WireError("a list of strings whose lengths do not fit its bytes")
    flat = np.empty(size, object)
    for index, length in enumerate(lengths):
        flat[index] = bytes(content[start : start + length])
        start += length
    return flat


def _shape(buffer: memoryview) -> tuple[int, ...]:
    """The dimensions. `unknown_rank` is ignored, as TensorFlow does for a tensor with values."""
    dims = []
    for field, _, value in protobuf.fields(buffer):
        if field == 2:
            size = 0
            for inner, _, dim in protobuf.fields(protobuf.as_block(value)):
                if inner == 1:
                    size = protobuf.as_int(dim)
            dims.append(size)
            if size < 0 or len(dims) > MAX_RANK:
                raise WireError(f"a tensor of shape {dims[:8]}")
    return tuple(dims)


def _typed(dtype: DataType, parts: list[protobuf.Value]) -> np.ndarray:
    """The values of float_val, int_val and similar fields, packed or not."""
    if dtype.field in (5, 6, 9, 12):  # fixed width: the packed block is the array's memory
        real = np.dtype("<f4" if dtype.field in (5, 9) else "<f8")
        blocks = [protobuf.as_block(value) for value in parts]
        raw = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if len(raw) % dtype.numpy.itemsize:
            raise WireError("a list of numbers is cut off")
        return np.frombuffer(raw, real).view(dtype.numpy)
    bits = _varints(parts)
    if dtype.name in ("DT_HALF", "DT_BFLOAT16"):
        return bits.astype("<u2").view(dtype.numpy)
    return bits != 0 if dtype.name == "DT_BOOL" else bits.astype(dtype.numpy)


def _varints(parts: list[protobuf.Value]) -> np.ndarray:
    """All numbers of a varint field as uint64."""
    if all(isinstance(value, int) for value in parts):
        return np.array(parts, np.uint64)
    pieces = [
        np.array([value], np.uint64) if isinstance(value, int) else protobuf.packed_varints(value) for value in parts
    ]
    return np.concatenate(pieces)


def _fill(flat: np.ndarray, size: int) -> np.ndarray:
    """`flat` with `size` values: a short list repeats its last value (zeros if empty), a long one is cut."""
    if flat.size >= size:
        return flat[:size]
    if size * flat.itemsize > MAX_FILLED_BYTES:
        raise WireError(f"a tensor of {size} values, of which {flat.size} were sent")
    filler = np.zeros(size - flat.size, flat.dtype)
    if flat.size:
        filler[:] = flat[-1]
    return np.concatenate((flat, filler))


def _strings(parts: list[protobuf.Value], size: int) -> np.ndarray:
    flat = np.empty(len(parts), object)
    flat[:] = [bytes(protobuf.as_block(value)) for value in parts]
    if flat.size >= size:
        return flat[:size]
    if size * flat.itemsize > MAX_FILLED_BYTES:
        raise WireError(f"a tensor of {size} strings, of which {flat.size} were sent")
    filler = np.empty(size - flat.size, object)
    filler[:] = flat[-1] if flat.size else b""
    return np.concatenate((flat, filler))
