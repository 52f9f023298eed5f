"""The text of a nested list of numbers to an array, without a Python object per number.

simdjson parses it and hands over the numbers as one flat buffer. It flattens nested lists, so the nesting is checked
apart: with numbers and blanks deleted, what is left of a rectangular array is known from its shape alone.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np
import simdjson

from hangtag import dtypes

MANY_BYTES = 32 << 10
"""From this size on, parsing takes so long that it is worth another process: see `json_helpers`."""

_NUMBERS_AND_BLANKS = b"0123456789+-.eE \t\r\n"
# Integers are read as one of these, then cut to the size of the tensor's type: uint8 256 is 0, as in C++.
_INT32 = (-(2**31), 2**31 - 1)
RANGES = {
    "DT_INT32": _INT32,
    "DT_INT16": _INT32,
    "DT_INT8": _INT32,
    "DT_UINT8": _INT32,
    "DT_INT64": (-(2**63), 2**63 - 1),
    "DT_UINT32": (0, 2**32 - 1),
    "DT_UINT64": (0, 2**64 - 1),
}
FLOATS = ("DT_FLOAT", "DT_DOUBLE")
_MANY_CELLS = 1 << 16  # shapes with more rows than this are not worth remembering

_local = threading.local()


def read_numbers(text: memoryview, dtype_number: int, max_depth: int) -> np.ndarray | None:
    """The array in `text`, a JSON list, as a tensor of that DataType; None if it is anything but the usual."""
    dtype = dtypes.BY_NUMBER.get(dtype_number)
    if dtype is None or (dtype.name not in FLOATS and dtype.name not in RANGES):
        return None
    try:
        flat = _parser().parse(text)
        shape, probe = [], flat
        while isinstance(probe, simdjson.Array):
            shape.append(len(probe))
            if not shape[-1] or len(shape) > max_depth:
                return None
            probe = probe[0]
        if bytes(text).translate(None, _NUMBERS_AND_BLANKS) != _brackets(tuple(shape)):
            return None
        if dtype.name in FLOATS:
            return _floats(flat, dtype.numpy).reshape(shape)
        numbers = _integers(flat, *RANGES[dtype.name])
        # The reshape fails for [[1], []], which has the brackets of [[1], [2]].
        return None if numbers is None else numbers.reshape(shape).astype(dtype.numpy)
    except (TypeError, ValueError, RuntimeError):  # no JSON, or a number of another kind
        return None


def _floats(flat: Any, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # 1e39 is infinity as a float32, as it is in C++
        return np.frombuffer(flat.as_buffer(of_type="d"), np.float64).astype(dtype)


def _integers(flat: Any, low: int, high: int) -> np.ndarray | None:
    try:
        numbers = np.frombuffer(flat.as_buffer(of_type="u"), np.uint64)
        return numbers if numbers.max() <= high else None
    except (TypeError, ValueError, RuntimeError):  # one below zero
        numbers = np.frombuffer(flat.as_buffer(of_type="i"), np.int64)
        return numbers if numbers.min() >= low and numbers.max() <= high else None


def _parser() -> simdjson.Parser:
    """The parser of this thread: it keeps its memory from document to document."""
    parser = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = simdjson.Parser()
    return parser


def _brackets(shape: tuple[int, ...]) -> bytes:
    if len(shape) > 1 and shape[0] < _MANY_CELLS:
        return _remembered_brackets(shape)
    return _make_brackets(shape)


@lru_cache(maxsize=64)
def _remembered_brackets(shape: tuple[int, ...]) -> bytes:
    return _make_brackets(shape)


def _make_brackets(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of a rectangular array: ``[[,],[,]]`` for (2, 2)."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text
