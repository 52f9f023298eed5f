"""The text of a nested list of numbers to an array, without a Python object per number.

simdjson parses it and hands over the numbers as one flat buffer. It flattens nested lists, so the nesting is checked
apart: lists of equal length at each depth, and none among the numbers.
"""

from __future__ import annotations

import math
import threading
from itertools import chain
from typing import Any

import numpy as np
import simdjson

from hangtag.protocol import dtypes

from ..json.inputs import FLOATS, RANGES

LARGE_BYTES = 32 << 10
"""From this size on, parsing may be worth another process: see `json_workers`."""

_BRACKET = ord("[")

_local = threading.local()


def read_numbers(text: memoryview, dtype_number: int, max_depth: int) -> np.ndarray | None:
    """The array in `text`, a JSON list, as a tensor of that DataType; None if it is anything but the usual."""
    dtype = dtypes.BY_NUMBER.get(dtype_number)
    if dtype is None or (dtype.name not in FLOATS and dtype.name not in RANGES):
        return None
    try:
        flat = _parser().parse(text)
        shape = _shape(flat, text, max_depth)
        if shape is None:
            return None
        if dtype.name in FLOATS:
            return _floats(flat, dtype.numpy).reshape(shape)
        numbers = _integers(flat, *RANGES[dtype.name])
        return None if numbers is None else numbers.reshape(shape).astype(dtype.numpy)
    except (TypeError, ValueError, RuntimeError):  # no JSON, or a number of another kind
        return None


def _shape(flat: Any, text: memoryview, max_depth: int) -> list[int] | None:
    """The lengths of the lists at each depth, if they are those of an array of numbers."""
    shape: list[int] = []
    known, above, first = 0, [[flat]], flat
    while isinstance(first, simdjson.Array):
        if shape:
            above = list(chain.from_iterable(above))
        size = len(first)
        if not size or len(shape) == max_depth or set(map(len, chain.from_iterable(above))) != {size}:
            return None
        known += math.prod(shape)
        shape.append(size)
        first = first[0]
    # As in [1, [2]], lists may still stand among the numbers: then there are more brackets than lists were seen.
    brackets = np.count_nonzero(np.frombuffer(text, np.uint8) == _BRACKET)
    return shape if brackets == known else None


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
