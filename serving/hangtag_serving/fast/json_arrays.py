"""Reads REST predict requests without a Python object for each number, if they have one array for one input.

The bytes around the array are equal in most requests, so they are parsed once and then compared. simdjson parses the
array into one flat buffer of numbers. It flattens nested lists, so the nesting is checked separately: the lists at each
depth must have equal lengths, and no list may stand among numbers. All other requests, and all invalid ones, are left
to `hangtag_serving.json`.
"""

from __future__ import annotations

import math
import re
import threading
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import simdjson

from hangtag.protocol import dtypes

from ..bounded_cache import BoundedCache
from ..json.inputs import FLOATS, RANGES

LARGE_BYTES = 32 << 10
"""The size from which on another process may parse the numbers, see `json_workers`."""

_MAX_AROUND = 512  # bytes before and after the array
_MAX_TEMPLATES, _MAX_TEMPLATE_BYTES = 256, 1 << 20  # of all templates
_TEMPLATE_BYTES = 512  # memory of a template, without the bytes around the array
_MAX_LISTS = 1_000_000  # of 100 bytes in memory; the plain path reads requests with more, and counts every value
_KEPT_BYTES = 1 << 20
_BRACKET = ord("[")
_LONG_EXPONENT = re.compile(rb"[eE]\+?\d{3}")  # RapidJSON refuses one above 308, simdjson not that of a zero

_local = threading.local()


# ---- where the array is


class _Template(NamedTuple):
    """The meaning of the bytes around the array: ``instances`` or ``inputs``, and the signature."""

    as_rows: bool
    signature_name: str


class JsonArray(NamedTuple):
    """The unparsed array of a request. `signature_name` is "" if the request names none.

    `read_numbers` still has to check that all of `text` is one JSON list.
    """

    as_rows: bool
    signature_name: str
    text: memoryview


class JsonTemplates:
    """Finds the array in request bodies. Thread-safe."""

    def __init__(self) -> None:
        self._templates: BoundedCache[tuple[bytes, bytes], _Template] = BoundedCache(
            _MAX_TEMPLATES, _MAX_TEMPLATE_BYTES
        )

    def match(self, body: bytes) -> JsonArray | None:
        """The array of a request; None if the request has another form."""
        start, end = body.find(b"["), body.rfind(b"]") + 1
        if not 0 <= start < end or start + len(body) - end > _MAX_AROUND:
            return None
        has_exponents = body.find(b"e", start, end) >= 0 or body.find(b"E", start, end) >= 0
        if has_exponents and _LONG_EXPONENT.search(body, start, end):
            return None
        around = body[:start], body[end:]
        template = self._templates.get(around)
        if template is None:
            template = _parse_template(b"[0]".join(around))
            if template is None:
                return None
            self._templates.put(around, template, 2 * len(body) - 2 * (end - start) + _TEMPLATE_BYTES)
        return JsonArray(*template, memoryview(body)[start:end])


def _parse_template(text: bytes) -> _Template | None:
    """The meaning of a document in which the array was replaced by [0]; None if it has another form."""
    try:
        document = simdjson.Parser().parse(text)
    except (ValueError, RuntimeError):
        return None
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    if len(keys) > 2 or ("instances" in keys) == ("inputs" in keys):
        return None
    key = "instances" if "instances" in keys else "inputs"
    name = document["signature_name"] if "signature_name" in keys else ""
    if not isinstance(name, str) or len(keys) != (2 if name else 1):
        return None
    values = document[key]
    if not isinstance(values, simdjson.Array) or values.as_list() != [0]:
        return None
    return _Template(key == "instances", name)


# ---- reading the array


def read_numbers(text: memoryview, dtype_number: int, max_depth: int) -> np.ndarray | None:
    """The array in `text`, a JSON list, with that DataType; None if the plain path must read it."""
    dtype = dtypes.BY_NUMBER.get(dtype_number)
    if dtype is None or (dtype.name not in FLOATS and dtype.name not in RANGES):
        return None
    lists = int(np.count_nonzero(np.frombuffer(text, np.uint8) == _BRACKET))
    if lists > _MAX_LISTS:
        return None
    try:
        flat = _parser(len(text)).parse(text)
        shape = _shape(flat, lists, max_depth)
        if shape is None:
            return None
        if dtype.name in FLOATS:
            return _floats(flat, dtype.numpy).reshape(shape)
        numbers = _integers(flat, *RANGES[dtype.name])
        return None if numbers is None else numbers.reshape(shape).astype(dtype.numpy)
    except (TypeError, ValueError, RuntimeError):  # invalid JSON, or a number of another type
        return None


def _shape(flat: Any, lists: int, max_depth: int) -> list[int] | None:
    """The shape of the array; None if the nesting is not regular. `lists` is the number of lists in its text."""
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
    # If lists stand among numbers, as in [1, [2]], there are more brackets than the shape explains.
    return shape if lists == known else None


def _floats(flat: Any, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # as in C++, 1e39 becomes infinity as float32
        return np.frombuffer(flat.as_buffer(of_type="d"), np.float64).astype(dtype)


def _integers(flat: Any, low: int, high: int) -> np.ndarray | None:
    try:
        numbers = np.frombuffer(flat.as_buffer(of_type="u"), np.uint64)
        return numbers if numbers.max() <= high else None
    except (TypeError, ValueError, RuntimeError):  # there are negative numbers
        numbers = np.frombuffer(flat.as_buffer(of_type="i"), np.int64)
        return numbers if numbers.min() >= low and numbers.max() <= high else None


def _parser(size: int) -> simdjson.Parser:
    """The parser of this thread, which reuses its memory; for large documents a new parser, which frees it."""
    if size > _KEPT_BYTES:
        return simdjson.Parser()
    parser = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = simdjson.Parser()
    return parser
