"""The usual predict request, read without a Python object per number: one array of numbers for a one-input signature.

simdjson parses the body and hands over the numbers as one flat buffer. It flattens nested lists, so the nesting is
checked apart: with numbers and blanks deleted, what is left of a rectangular array is known from its shape alone.
Whatever is unusual or wrong is left to `json_inputs`, which also makes the error texts.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import simdjson

from hangtag import dtypes

from . import json_inputs, rapid_json
from .errors import invalid
from .excerpts import excerpt
from .json_inputs import Spec
from .rapid_json import MISSING, Object

_NUMBERS_AND_BLANKS = b"0123456789+-.eE \t\r\n"
_INT32 = (-(2**31), 2**31 - 1)
_READ_AS = {  # simdjson's buffer type, numpy's name of it, and what json_inputs allows
    "DT_FLOAT": ("d", np.float64, None),
    "DT_DOUBLE": ("d", np.float64, None),
    "DT_INT32": ("i", np.int64, _INT32),
    "DT_INT16": ("i", np.int64, _INT32),
    "DT_INT8": ("i", np.int64, _INT32),
    "DT_UINT8": ("i", np.int64, _INT32),
    "DT_INT64": ("i", np.int64, None),
    "DT_UINT32": ("i", np.int64, (0, 2**32 - 1)),
    "DT_UINT64": ("u", np.uint64, None),
}
_MANY_CELLS = 1 << 16  # shapes with more rows than this are not worth remembering

_local = threading.local()


class Request:
    """One body of :predict. `signature_name` is empty when it names none."""

    def __init__(self, body: bytes, max_depth: int) -> None:
        self._body, self._max_depth = body, max_depth
        self._flat: Any = None
        self._key = ""
        self._document: Object | None = None
        self.signature_name = ""
        if not self._read_quickly():
            self._read_slowly()

    def inputs(self, specs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
        """The input arrays by name, and whether they came in row form."""
        if self._flat is not None and len(specs) == 1:
            ((name, spec),) = specs.items()
            array = self._array(spec)
            if array is not None:
                return {name: array}, self._key == "instances"
        self.close()
        if self._document is None:
            self._read_slowly()
        assert self._document is not None  # noqa: S101 - _read_slowly sets it
        return json_inputs.read_inputs(self._document, specs)

    def close(self) -> None:
        """Let go of simdjson's document: a parser reads the next one only then."""
        self._flat = None

    def _read_quickly(self) -> bool:
        start, end = self._body.find(b"["), self._body.rfind(b"]")
        if start < 0 or end < start or self._body.find(b'"', start, end) >= 0 or self._body.find(b"{", start, end) >= 0:
            return False  # strings or objects among the values: not the usual request
        try:
            document = _parser().parse(self._body)
        except (ValueError, RuntimeError):  # no JSON, or a number of more than 64 bits
            return False
        if not isinstance(document, simdjson.Object):
            return False
        keys = list(document.keys())
        if len(keys) > 2 or ("instances" in keys) == ("inputs" in keys):
            return False
        self._key = "instances" if "instances" in keys else "inputs"
        name = document["signature_name"] if "signature_name" in keys else ""
        flat = document[self._key]
        if not isinstance(name, str) or not isinstance(flat, simdjson.Array) or len(keys) != (2 if name else 1):
            return False
        self.signature_name, self._flat = name, flat
        self._structure = self._body[start : end + 1].translate(None, _NUMBERS_AND_BLANKS)
        return True

    def _array(self, spec: Spec) -> np.ndarray | None:
        dtype = dtypes.BY_NUMBER.get(spec.dtype)
        if dtype is None or dtype.name not in _READ_AS:
            return None
        shape, probe = [], self._flat
        while isinstance(probe, simdjson.Array):
            shape.append(len(probe))
            if not shape[-1]:
                return None
            probe = probe[0]
        if len(shape) > self._max_depth or self._structure != _brackets(tuple(shape)):
            return None
        kind, numpy, bounds = _READ_AS[dtype.name]
        try:
            numbers = np.frombuffer(self._flat.as_buffer(of_type=kind), numpy)
        except (TypeError, ValueError, RuntimeError):  # a number of another kind
            return None
        if bounds is not None and (numbers.min() < bounds[0] or numbers.max() > bounds[1]):
            return None
        with np.errstate(over="ignore"):  # 1e39 is infinity as a float32, as it is in C++
            return numbers.astype(dtype.numpy).reshape(shape)

    def _read_slowly(self) -> None:
        document = rapid_json.parse(self._body, self._max_depth)
        if not isinstance(document, Object):
            raise invalid(f"JSON Value: {excerpt(document)} Is not object")
        name = document.find(b"signature_name")
        if name is MISSING:
            name = b""
        if not isinstance(name, bytes):
            raise invalid(
                f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
            )
        self.signature_name = name.decode("utf-8", "replace")
        self._document = document


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
