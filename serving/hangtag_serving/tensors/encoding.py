"""Encodes the arrays of responses as TensorProtos, in the form that the C++ server chooses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hangtag.optional import require
from hangtag.protocol import dtypes, protobuf, tensors

from .types import number_of

# Types whose typed field, when packed, has exactly the memory of the array. For these, the typed fields that C++ sends
# are as quick as `tensor_content`.
_SAME_BYTES = {"DT_FLOAT": 5, "DT_DOUBLE": 6, "DT_COMPLEX64": 9, "DT_COMPLEX128": 12, "DT_BOOL": 11}

_NUMBERS_AT_ONCE = 1 << 16


def encode_content(array: np.ndarray) -> bytes:
    """A TensorProto whose numbers are in `tensor_content`."""
    number = number_of(array)
    if number in dtypes.BY_NUMBER and number != dtypes.BFLOAT16.number:
        return tensors.encode(array)
    tf = require("tensorflow", extra="serving", what="hangtag serve")
    serialized: bytes = tf.make_tensor_proto(array).SerializeToString()
    return serialized


def encode_typed(array: np.ndarray) -> bytes:
    """A TensorProto whose numbers are in typed fields (`float_val`), as the C++ server answers by default."""
    number = number_of(array)
    dtype = dtypes.BY_NUMBER.get(number)
    if dtype is None or dtype is dtypes.STRING or dtype is dtypes.BFLOAT16 or not array.size:
        return encode_content(array)
    head = tensors.head(dtype, array.shape)
    field = _SAME_BYTES.get(dtype.name)
    if field is not None:
        return b"".join((head, protobuf.prefix(field, array.nbytes), tensors.contiguous(array).data))
    if dtype.name == "DT_HALF":
        array = array.view(np.uint16)
    if array.dtype.itemsize == 1 and int(array.min()) >= 0 and int(array.max()) < 0x80:
        values = array.tobytes()  # a number below 128 is its own varint
    else:
        # In parts, because Python objects take many times the memory of the numbers.
        flat, parts = array.ravel(), range(0, array.size, _NUMBERS_AT_ONCE)
        lists = (flat[start : start + _NUMBERS_AT_ONCE].tolist() for start in parts)
        values = b"".join(b"".join(map(protobuf.varint, numbers)) for numbers in lists)
    return head + protobuf.block(dtype.field, values)


Encode = Callable[[np.ndarray], bytes]
