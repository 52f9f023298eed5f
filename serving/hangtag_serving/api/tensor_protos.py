"""TensorProto in the forms a server needs: what any client may send, and what the C++ server answers with.

The client room's codec does the usual types; the rarer ones (bfloat16, quantised) take TensorFlow's own functions.
Source: tensorflow/core/framework/{tensor.proto,types.proto,tensor.cc}.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hangtag.optional import require
from hangtag.protocol import dtypes, protobuf, tensors
from hangtag.protocol.protobuf import WireError

# The TensorProto fields that hold values one by one. Packed, the memory of a float array is that of `float_val`, and
# the memory of a bool array that of `bool_val`, so answering in typed fields as C++ does costs no more.
_SAME_BYTES = {"DT_FLOAT": 5, "DT_DOUBLE": 6, "DT_COMPLEX64": 9, "DT_COMPLEX128": 12, "DT_BOOL": 11}
_NAMES = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant"}

_RARE = (11, 12, 13, 14, 15, 16)  # the quantised types, and bfloat16


def short_name(number: int) -> str:
    """TensorFlow's name of a dtype in messages: ``float``, ``uint8``."""
    if number in dtypes.BY_NUMBER:
        return dtypes.BY_NUMBER[number].name.removeprefix("DT_").lower()
    return _NAMES.get(number, "INVALID" if number == 0 else f"unknown dtype enum ({number})")


def decode(content: memoryview) -> np.ndarray:
    """The array in a TensorProto; raises WireError if it is none."""
    number = next((protobuf.as_int(value) for field, _, value in protobuf.fields(content) if field == 1), 0)
    if number != dtypes.BFLOAT16.number and number in dtypes.BY_NUMBER:
        return tensors.decode(content)
    if number not in _RARE:
        raise WireError(f"a tensor of type {short_name(number)}")
    tf = require("tensorflow", extra="serving", what="hangtag serve")
    pb = require("tensorflow.core.framework.tensor_pb2", extra="serving", what="hangtag serve")
    try:
        array: np.ndarray = tf.make_ndarray(pb.TensorProto.FromString(bytes(content)))
    except Exception as error:  # what these two raise at rubbish is not theirs to say
        raise WireError(f"a tensor of type {short_name(number)}: {error}") from error
    return array


def number_of(array: np.ndarray) -> int:
    """The DataType number of an array."""
    if array.dtype.kind in "OSU":
        return dtypes.STRING.number
    found = _BY_NUMPY.get(array.dtype)
    if found is None:
        tf = require("tensorflow", extra="serving", what="hangtag serve")
        found = _BY_NUMPY[array.dtype] = int(tf.as_dtype(array.dtype).as_datatype_enum)
    return found


_BY_NUMPY = {row.numpy: row.number for row in dtypes.BY_NUMBER.values() if row not in (dtypes.STRING, dtypes.BFLOAT16)}


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
        values = array.tobytes()  # numbers below 128 are their own varints
    else:
        values = b"".join(map(protobuf.varint, array.ravel().tolist()))
    return head + protobuf.block(dtype.field, values)


Encode = Callable[[np.ndarray], bytes]
