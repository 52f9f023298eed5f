"""TensorFlow's data types: their numbers, names and numpy dtypes, and the TensorProto fields for their values.

Source: tensorflow/core/framework/types.proto and tensor.proto.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..errors import InvalidInput


class DataType(NamedTuple):
    """One of TensorFlow's data types.

    `numpy` is the little-endian dtype of `tensor_content`; `field` is the number of the TensorProto field that holds
    the values one by one.
    """

    number: int
    name: str
    numpy: np.dtype
    field: int


def _row(number: int, name: str, numpy: str, field: int) -> DataType:
    return DataType(number, name, np.dtype(numpy), field)


STRING: Final = _row(7, "DT_STRING", "O", 8)
# numpy has no bfloat16. A record of 16 bits is used, because no other array has this dtype.
BFLOAT16: Final = DataType(14, "DT_BFLOAT16", np.dtype([("bits", "<u2")]), 13)

_ALL = (
    _row(1, "DT_FLOAT", "<f4", 5),
    _row(2, "DT_DOUBLE", "<f8", 6),
    _row(3, "DT_INT32", "<i4", 7),
    _row(4, "DT_UINT8", "u1", 7),
    _row(5, "DT_INT16", "<i2", 7),
    _row(6, "DT_INT8", "i1", 7),
    STRING,
    _row(8, "DT_COMPLEX64", "<c8", 9),
    _row(9, "DT_INT64", "<i8", 10),
    _row(10, "DT_BOOL", "?", 11),
    BFLOAT16,
    _row(17, "DT_UINT16", "<u2", 7),
    _row(18, "DT_COMPLEX128", "<c16", 12),
    _row(19, "DT_HALF", "<f2", 13),
    _row(22, "DT_UINT32", "<u4", 16),
    _row(23, "DT_UINT64", "<u8", 17),
)

BY_NUMBER: Final = {row.number: row for row in _ALL}
BY_NAME: Final = {row.name: row for row in _ALL}
_BY_NUMPY = {row.numpy: row for row in _ALL}


def of_array(array: np.ndarray) -> DataType:
    """The data type that carries `array`; text and bytes of any width are DT_STRING."""
    if array.dtype.kind in "OSU":
        return STRING
    row = _BY_NUMPY.get(array.dtype.newbyteorder("<"))
    if row is None:
        raise InvalidInput(f"TensorFlow Serving does not support {array.dtype} tensors: cast the array first")
    return row


def cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """Numbers as `dtype`, or None if their values do not fit. Floats may be rounded but must not overflow.

    >>> cast(np.array([3.0]), np.dtype("u1")), cast(np.array([3.5]), np.dtype("u1"))
    (array([3], dtype=uint8), None)
    """
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    fits = (np.isfinite(converted) == np.isfinite(array)) if dtype.kind == "f" else (converted == array)
    return converted if fits.all() else None


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Floats rounded to the nearest bfloat16, ties to even, as records of their bits.

    >>> from_bfloat16(to_bfloat16(np.array([1.0, 3.14159265], "f4"))).tolist()
    [1.0, 3.140625]
    """
    bits = np.ascontiguousarray(array, "<f4").reshape(array.shape).view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    rounded = np.where(np.isnan(array), bits >> 16 | 0x40, rounded)  # a NaN must not round to infinity
    return rounded.astype("<u2").view(BFLOAT16.numpy)


def from_bfloat16(records: np.ndarray) -> np.ndarray:
    """Records of bfloat16 bits as float32, without rounding."""
    widened: np.ndarray = (records["bits"].astype("<u4") << 16).view("<f4")
    return widened


def name_of(number: int) -> str:
    """The name of a DataType number; ``DT_<number>`` for types that no request can carry (resources, variants)."""
    return BY_NUMBER[number].name if number in BY_NUMBER else f"DT_{number}"
