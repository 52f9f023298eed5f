"""Converts a parsed JSON document to input arrays, value by value, with TensorFlow Serving's rules and texts.

Semantics and texts: tensorflow_serving/util/json_tensor.cc, recorded on 2.20.0. `fast.json_arrays` reads the most
common requests without a Python object for each number, and leaves all others to this module.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from hangtag.protocol import dtypes
from hangtag.protocol.dtypes import DataType

from ..errors import ServingError, invalid
from ..limits import Budget
from ..tensors.image_sizes import check_images
from ..tensors.types import numpy_dtype, shape_text, short_name
from .excerpts import excerpt
from .parser import MISSING, Object

Spec = Any
"""A TensorInfo message."""

_BLANKS = b" \t\n\r\v\f"
_ELEMENT_BYTES = 24  # memory of an element in the list of all, in an array, and in its copy of another type
# Integers are read as one of these types, then cut to the tensor's type: as in C++, 256 becomes 0 as uint8.
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


def read_inputs(document: Object, specs: Mapping[str, Spec], budget: Budget) -> tuple[dict[str, np.ndarray], bool]:
    """The input arrays by name, and whether they came in row form (``instances``)."""
    rows, columns = document.find(b"instances"), document.find(b"inputs")
    if rows is not MISSING and columns is not MISSING:
        raise invalid(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if rows is MISSING and columns is MISSING:
        raise invalid("Missing 'inputs' or 'instances' key")
    if rows is MISSING:
        return _columns(columns, specs, budget), False
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {excerpt(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {excerpt(document)} No values in 'instances' array")
    return _rows(rows, specs, budget), True


# ---- row form


def _rows(rows: list[Any], specs: Mapping[str, Spec], budget: Budget) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], Object) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    as_objects = _is_named(rows[0])
    name = min(specs)
    stacks: dict[str, _Stack] = {}
    for position, row in enumerate(rows):
        if as_objects:
            if not _is_named(row):
                raise invalid(f"Expecting object but got list at item {position} of input list")
            _add_object(position, row, specs, stacks)
        else:
            if _is_named(row):
                raise invalid(f"Expecting value/list but got object at item {position} of input list")
            _add(position, "", name, row, specs, stacks)
    return {name: stack.array(budget) for name, stack in stacks.items()}


def _is_named(row: Any) -> bool:
    return isinstance(row, Object) and not is_base64(row)


def _add_object(position: int, row: Object, specs: Mapping[str, Spec], stacks: dict[str, _Stack]) -> None:
    for key, value in row.members:
        name = key.decode("utf-8", "replace")
        _add(position, f" key: {name}", name, value, specs, stacks)
    if {key for key, _ in row.members} != {name.encode() for name in specs}:
        raise invalid(
            f"Failed to process element: {position} of 'instances' list. JSON object: {excerpt(row)} keys must be "
            f"equal to: {','.join(sorted(specs))}"
        )


def _add(position: int, key: str, name: str, value: Any, specs: Mapping[str, Spec], stacks: dict[str, _Stack]) -> None:
    try:
        if name not in specs:
            raise invalid(f"JSON object: does not have named input: {name}")
        if name not in stacks:
            stacks[name] = _Stack(value, _dtype(specs[name]))
        stacks[name].add(value)
    except ServingError as error:
        raise invalid(
            f"Failed to process element: {position}{key} of 'instances' list. Error: {error.code}: {error.message}"
        ) from error


class _Stack:
    """The values of one input, row by row. All rows must have the shape of the first one."""

    def __init__(self, first: Any, dtype: DataType) -> None:
        self._dtype, self._shape = dtype, dense_shape(first)
        self._flat: list[Any] = []
        self._rows = 0

    def add(self, value: Any) -> None:
        shape = dense_shape(value)
        before = len(self._flat)
        _fill(self._flat, value, 0, shape, self._dtype)
        size = len(self._flat) - before
        if self._rows and size != before // self._rows:
            raise invalid(f"Expecting tensor size: {before // self._rows} but got: {size}")
        if shape != self._shape:
            raise invalid(f"Expecting shape {shape_text(self._shape)} but got: {shape_text(shape)}")
        self._rows += 1

    def array(self, budget: Budget) -> np.ndarray:
        return _array(self._flat, (self._rows, *self._shape), self._dtype, budget)


# ---- columnar form


def _columns(inputs: Any, specs: Mapping[str, Spec], budget: Budget) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        name = min(specs)
        return {name: read_tensor(inputs, _dtype(specs[name]), budget)}
    arrays = {}
    for name in sorted(specs):
        value = inputs.find(name.encode())
        if value is MISSING:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = read_tensor(value, _dtype(specs[name]), budget)
    return arrays


def read_tensor(value: Any, dtype: DataType, budget: Budget) -> np.ndarray:
    """A nested list or a scalar as an array."""
    shape = dense_shape(value)
    flat: list[Any] = []
    _fill(flat, value, 0, shape, dtype)
    return _array(flat, shape, dtype, budget)


# ---- values


def dense_shape(value: Any) -> tuple[int, ...]:
    """The shape by the first element of each list."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _fill(flat: list[Any], value: Any, level: int, shape: tuple[int, ...], dtype: DataType) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        flat.append(_scalar(value, dtype))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(flat, item, level + 1, shape, dtype)


def _scalar(value: Any, dtype: DataType) -> Any:
    if isinstance(value, Object):
        if dtype is dtypes.STRING:
            return from_base64(value)
        raise _type_error(value, dtype)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype.name in FLOATS:
        fits = number
    elif dtype.name in RANGES:
        low, high = RANGES[dtype.name]
        fits = number and isinstance(value, int) and low <= value <= high
    elif dtype is dtypes.STRING:
        fits = isinstance(value, bytes)
    elif dtype.name == "DT_BOOL":
        fits = isinstance(value, bool)
    else:
        raise ServingError(
            "UNIMPLEMENTED", f"Conversion of JSON Value: {excerpt(value)} to type: {short_name(dtype.number)}"
        )
    if not fits:
        raise _type_error(value, dtype)
    return value


def _type_error(value: Any, dtype: DataType) -> ServingError:
    kind = json_type(value)
    return invalid(f"JSON Value: {excerpt(value)} Type: {kind} is not of expected type: {short_name(dtype.number)}")


def json_type(value: Any) -> str:
    """RapidJSON's name for the type of a value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, Object):
        return "Object"
    return next((name for kind, name in ((bytes, "String"), (list, "Array")) if isinstance(value, kind)), "Number")


def is_base64(value: Any) -> bool:
    """Whether `value` is an object with one member, ``{"b64": "..."}``."""
    return isinstance(value, Object) and len(value.members) == 1 and isinstance(value.find(b"b64"), bytes)


def from_base64(value: Object) -> bytes:
    """The bytes of ``{"b64": "..."}``."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    return decode_base64(value.find(b"b64"))


def decode_base64(text: bytes) -> bytes:
    """Decode standard base64 like absl's decoder: padding is optional and blanks are skipped."""
    compact = text.translate(None, _BLANKS)
    bare = compact.rstrip(b"=.")
    padding = len(compact) - len(bare)
    try:
        if padding and (len(bare) + padding) % 4:
            raise binascii.Error("padding")
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _array(flat: list[Any], shape: tuple[int, ...], dtype: DataType, budget: Budget) -> np.ndarray:
    budget.take(_ELEMENT_BYTES * len(flat))
    try:
        return _flat_array(flat, dtype, budget).reshape(shape)
    except ValueError as error:  # numpy has at most 64 dimensions, TensorFlow 254
        raise invalid(f"Cannot make a tensor of {len(shape)} dimensions: {error}") from error


def _flat_array(flat: list[Any], dtype: DataType, budget: Budget) -> np.ndarray:
    if dtype is dtypes.STRING:
        check_images(flat, budget)
        strings = np.empty(len(flat), object)
        strings[:] = flat
        return strings
    if not flat:
        return np.empty(0, numpy_dtype(dtype.number))
    if dtype.name in RANGES and dtype.numpy.itemsize < 4:
        return np.array(flat, np.int32).astype(dtype.numpy)
    with np.errstate(over="ignore"):  # as in C++, 1e39 becomes infinity as float32
        return np.array(flat, np.float64 if dtype.name in FLOATS else dtype.numpy).astype(dtype.numpy)


def _dtype(spec: Spec) -> DataType:
    known = dtypes.BY_NUMBER.get(spec.dtype)
    return known if known is not None else DataType(spec.dtype, f"DT_{spec.dtype}", np.dtype("V"), 0)
