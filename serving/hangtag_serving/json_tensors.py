"""Nested JSON lists to arrays and back, with TensorFlow Serving's rules on types.

Semantics and texts: tensorflow_serving/util/json_tensor.cc, recorded on 2.20.0.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

import numpy as np

from hangtag import dtypes
from hangtag.dtypes import DataType

from .errors import ServingError, invalid

_EXCERPT = 256  # characters of a value that an error repeats
_CARRIED = frozenset(
    "DT_" + name for name in ("FLOAT", "DOUBLE", "INT32", "INT16", "INT8", "UINT8", "INT64", "UINT32", "UINT64", "BOOL")
)
_INT32 = frozenset(("DT_INT32", "DT_INT16", "DT_INT8", "DT_UINT8"))  # read as an int32, then cut to size


def read_value(value: Any, dtype: DataType) -> np.ndarray:
    """One nested list or scalar as an array; raises ServingError with the first thing that is wrong."""
    array = convert(value, dtype)
    if array is None:
        _complain(value, dtype)
    return array


def convert(value: Any, dtype: DataType) -> np.ndarray | None:
    """`value` as an array of `dtype`, or None if anything is wrong with it."""
    if dtype is dtypes.STRING:
        return _convert_strings(value)
    if dtype.name not in _CARRIED:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # ragged, or numbers beyond 64 bits
        return None
    if not array.size:
        return array.astype(dtype.numpy)
    if array.dtype.kind != "b" and dtype.name != "DT_BOOL" and _holds_bool(value):
        return None  # numpy takes true for 1, the C++ server does not
    if dtype.name == "DT_BOOL":
        return array if array.dtype.kind == "b" else None
    if dtype.numpy.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy) if array.dtype.kind in "iuf" else None
    if array.dtype.kind not in "iu":
        return None
    bounds = np.iinfo(np.int32 if dtype.name in _INT32 else dtype.numpy)
    return array.astype(dtype.numpy) if array.min() >= bounds.min and array.max() <= bounds.max else None


def _holds_bool(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_bool, value)) if value and isinstance(value[0], list) else bool in set(map(type, value))
    return isinstance(value, bool)


def _convert_strings(value: Any) -> np.ndarray | None:
    shape, flat = [], [value]
    while isinstance(flat[0] if flat else None, list):
        widths = {len(part) if isinstance(part, list) else None for part in flat}
        if len(widths) != 1 or None in widths:
            return None
        shape.append(len(flat[0]))
        flat = [item for part in flat for item in part]
    try:
        texts = [_text(item) for item in flat]
    except TypeError:
        return None
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape(shape)


def _text(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode("utf-8", "surrogatepass")
    if not is_base64(item):
        raise TypeError
    if not isinstance(item["b64"], str):
        raise invalid(f"JSON Value: {excerpt(item)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def is_base64(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {"b64"}


def _complain(value: Any, dtype: DataType) -> NoReturn:
    """Find the first thing that is wrong with `value` and say it as the C++ server does."""
    short = dtype.name.removeprefix("DT_").lower()
    if dtype is not dtypes.STRING and dtype.name not in _CARRIED:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {excerpt(value)} to type: {short}")
    sizes: list[int] = []
    probe = value
    while isinstance(probe, list):
        sizes.append(len(probe))
        probe = probe[0] if probe else None

    def walk(item: Any, level: int) -> None:
        if isinstance(item, list):
            if level >= len(sizes):
                raise invalid(f"Encountered list at unexpected level: {level} expected < {len(sizes)}")
            if len(item) != sizes[level]:
                raise invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {sizes[level]}"
                )
            for part in item:
                walk(part, level + 1)
        elif level != len(sizes):
            raise invalid(
                f"JSON Value: {excerpt(item)} found at incorrect level: {level} in the JSON DOM. "
                f"Expected at level: {len(sizes)}"
            )
        elif dtype is dtypes.STRING:
            if not (isinstance(item, str) or is_base64(item)):
                raise invalid(f"JSON Value: {excerpt(item)} Type: {_json_type(item)} is not of expected type: {short}")
        elif convert(item, dtype) is None:
            raise invalid(f"JSON Value: {excerpt(item)} Type: {_json_type(item)} is not of expected type: {short}")

    walk(value, 0)
    raise invalid(f"JSON Value: {excerpt(value)} is not of expected type: {short}")


def _json_type(item: Any) -> str:
    if item is None or isinstance(item, bool):
        return str(item).replace("None", "Null")
    return next(
        (name for kind, name in ((str, "String"), (list, "Array"), (dict, "Object")) if isinstance(item, kind)),
        "Number",
    )


def excerpt(value: Any) -> str:
    """The beginning of a value, pretty-printed, for an error."""
    return json.dumps(value, indent=4, ensure_ascii=False)[:_EXCERPT]


def to_json(name: str, array: np.ndarray) -> Any:
    kind = dtypes.of_array(array)
    if kind is dtypes.STRING:
        encoded = name.endswith("_bytes")
        flat = [
            {"b64": base64.b64encode(text).decode()} if encoded else text.decode("utf-8", "replace")
            for text in array.ravel().tolist()
        ]
        nested = np.empty(len(flat), object)
        nested[:] = flat
        return nested.reshape(array.shape).tolist()
    if kind.name not in _CARRIED:
        raise invalid(f"Failed to write JSON value for tensor type: {kind.name.removeprefix('DT_').lower()}")
    return np.ascontiguousarray(array) if array.ndim else array.item()
