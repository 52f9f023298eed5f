"""Encodes output arrays as TensorFlow Serving's JSON.

Semantics and texts: tensorflow_serving/util/json_tensor.cc. White space and digits differ from the C++ server's, but
the parsed values are equal. NaN and Infinity are written bare, as in C++.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from hangtag.protocol import dtypes

from ..errors import invalid
from ..limits import Budget, bytes_of
from ..tensors.types import number_of, short_name

_CARRIED = frozenset((1, 2, 3, 4, 5, 6, 9, 10, 22, 23))  # DataType numbers: float, double, integers but uint16, bool

_TEXTS_AT_ONCE = 1 << 16

# Memory of a value while it becomes JSON: as text only, or with an object; and the number of copies of its own bytes.
_TEXT_BYTES, _OBJECT_BYTES, _COPIES = 32, 200, 4


def predictions(outputs: Mapping[str, np.ndarray], as_rows: bool, budget: Budget) -> bytes:
    """The response to :predict, with ``predictions`` for the row form and ``outputs`` for the columnar form.

    Raises ServingError if it needs too much memory.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if as_rows:
        _check_rows(outputs)
    for name, array in outputs.items():
        _check_type(name, array)
    key = "predictions" if as_rows else "outputs"
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        if array.dtype.kind in "iufb" and array.ndim and (array.dtype.kind != "f" or np.isfinite(array).all()):
            budget.take(_TEXT_BYTES * array.size)
            return orjson.dumps({key: np.ascontiguousarray(array)}, option=orjson.OPT_SERIALIZE_NUMPY)
    budget.take(_OBJECT_BYTES * sum(array.size for array in outputs.values()) + _COPIES * bytes_of(outputs.values()))
    if len(outputs) == 1:
        return dump({key: _values(name, array)})
    values = {name: _values(name, array) for name, array in outputs.items()}
    if as_rows:
        rows = zip(*values.values(), strict=True)
        return dump({key: [dict(zip(values, row, strict=True)) for row in rows]})
    return dump({key: values})


def classifications(results: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """The response to :classify: a list of [label, score] for each example."""
    return dump({"results": [[[_text(label), _float32(score)] for label, score in row] for row in results]})


def regressions(values: Sequence[float]) -> bytes:
    """The response to :regress: one number for each example."""
    return dump({"results": [_float32(value) for value in values]})


def dump(document: Any) -> bytes:
    """A document as JSON; as in C++, with bare NaN and Infinity, and with invalid UTF-8 unchanged."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    rows = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows not in (-1, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)


def _check_type(name: str, array: np.ndarray) -> None:
    number = number_of(array)
    if array.size and number != dtypes.STRING.number and number not in _CARRIED:
        raise invalid(f"Failed to write JSON value for tensor type: {short_name(number)}")


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype.kind in "OSU":
        write = _base64 if name.endswith("_bytes") else _text
        return _nested([write(item) for item in array.ravel().tolist()], array.shape)
    if array.dtype == np.float32:
        # By way of the shortest text: 0.1, not 0.10000000149011612. It takes 128 bytes per number, so in parts.
        flat, parts = array.ravel(), range(0, array.size, _TEXTS_AT_ONCE)
        texts = (flat[start : start + _TEXTS_AT_ONCE].astype("U") for start in parts)
        return _nested([number for part in texts for number in part.astype(np.float64).tolist()], array.shape)
    return array.tolist()


def _nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    objects = np.empty(len(flat), object)
    objects[:] = flat
    return objects.reshape(shape).tolist()


def _text(item: bytes) -> str:
    return item.decode("utf-8", "surrogateescape")


def _base64(item: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(item).decode()}


def _float32(value: float) -> float:
    return float(str(np.float32(value)))
