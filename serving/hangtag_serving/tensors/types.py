"""TensorFlow's data types, including rare ones: their names in error texts, and their numpy dtypes.

Source: tensorflow/core/framework/types.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from hangtag.optional import require
from hangtag.protocol import dtypes

RESOURCE, VARIANT = 20, 21


def short_name(number: int) -> str:
    """TensorFlow's name of a dtype in error texts: ``float``, ``uint8``."""
    if number in dtypes.BY_NUMBER:
        return dtypes.BY_NUMBER[number].name.removeprefix("DT_").lower()
    try:
        name: str = _types().DataType.Name(number)
    except ValueError:
        return f"unknown dtype enum ({number})"
    return name.removeprefix("DT_").lower() if number else "INVALID"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as in TensorFlow's error texts: ``[2,3]``."""
    return f"[{','.join(map(str, shape))}]"


@cache
def _types() -> Any:
    return require("tensorflow.core.framework.types_pb2", extra="serving", what="hangtag serve")


@cache
def numpy_dtype(number: int) -> np.dtype | None:
    """The numpy dtype for a DataType; None if no tensor has that type."""
    if number in (RESOURCE, VARIANT):
        return np.dtype([(short_name(number), "V1")])
    if number in dtypes.BY_NUMBER and number != dtypes.BFLOAT16.number:
        return dtypes.BY_NUMBER[number].numpy
    tf = require("tensorflow", extra="serving", what="hangtag serve")
    try:
        return np.dtype(tf.as_dtype(number).as_numpy_dtype) if 0 < number < 100 else None
    except TypeError:
        return None


def number_of(array: np.ndarray) -> int:
    """The DataType number of an array."""
    if array.dtype.kind in "OSU":
        return dtypes.STRING.number
    number = _BY_NUMPY.get(array.dtype)
    if number is None:
        if array.dtype.names in (("resource",), ("variant",)):
            return RESOURCE if array.dtype.names == ("resource",) else VARIANT
        tf = require("tensorflow", extra="serving", what="hangtag serve")
        number = _BY_NUMPY[array.dtype] = int(tf.as_dtype(array.dtype).as_datatype_enum)
    return number


_BY_NUMPY = {row.numpy: row.number for row in dtypes.BY_NUMBER.values() if row not in (dtypes.STRING, dtypes.BFLOAT16)}
