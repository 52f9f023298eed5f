"""The documents of REST predict: which tensors a request holds, and how an answer is laid out.

Semantics and texts: tensorflow_serving/util/json_tensor.cc, recorded on 2.20.0. Unlike Python's json, the C++ server's
parser ignores what follows the document, takes the first of two equal keys, and reads bare NaN and Infinity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from hangtag import dtypes
from hangtag.dtypes import DataType

from .errors import ServingError, invalid
from .json_tensors import convert, excerpt, is_base64, read_value, to_json


def parse(body: bytes) -> dict[str, Any]:
    """The request document, which must be an object."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_dialect(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {excerpt(document)} Is not object")
    return document


def _parse_dialect(body: bytes) -> Any:
    """What orjson refuses and the C++ server's parser may yet take."""
    try:
        text = body.decode("utf-8-sig")
        decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: dict(reversed(pairs)))
        return decoder.raw_decode(text.lstrip(" \t\r\n"))[0]
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply.") from error


def read_inputs(document: dict[str, Any], specs: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], bool]:
    """The input arrays by name, and whether they came in row form. `specs` are TensorInfo messages by name."""
    has_rows, has_columns = "instances" in document, "inputs" in document
    if has_rows and has_columns:
        raise invalid(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if has_rows:
        return _read_rows(document, specs), True
    if has_columns:
        return _read_columns(document["inputs"], specs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_rows(document: dict[str, Any], specs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {excerpt(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {excerpt(document)} No values in 'instances' array")
    name = next(iter(specs)) if len(specs) == 1 else None
    as_objects = isinstance(rows[0], dict) and not (
        name and is_base64(rows[0]) and _dtype(specs[name]) is dtypes.STRING
    )
    for position, row in enumerate(rows):
        if as_objects and not isinstance(row, dict):
            raise invalid(f"Expecting object but got list at item {position} of input list")
        if not as_objects and isinstance(row, dict) and not is_base64(row):
            raise invalid(f"Expecting value/list but got object at item {position} of input list")
    if as_objects:
        return _read_object_rows(rows, specs)
    if name is None:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return {name: _stack(rows, _dtype(specs[name]), "")}


def _read_object_rows(rows: list[dict[str, Any]], specs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    for position, row in enumerate(rows):
        if row.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {excerpt(row)} keys must be "
                f"equal to: {','.join(sorted(specs))}"
            )
    return {name: _stack([row[name] for row in rows], _dtype(spec), f" key: {name}") for name, spec in specs.items()}


def _stack(rows: list[Any], dtype: DataType, key: str) -> np.ndarray:
    """Rows to one array; what is wrong is looked for only after it is known that something is."""
    array = convert(rows, dtype)
    if array is not None:
        return array
    first: np.ndarray | None = None
    for position, row in enumerate(rows):
        try:
            one = read_value(row, dtype)
            if first is not None and one.shape != first.shape:
                raise invalid(_shape_mismatch(first, one))
            first = one if first is None else first
        except ServingError as error:
            raise invalid(
                f"Failed to process element: {position}{key} of 'instances' list. Error: {error.code}: {error.message}"
            ) from error
    return np.stack([read_value(row, dtype) for row in rows])


def _shape_mismatch(first: np.ndarray, one: np.ndarray) -> str:
    if first.ndim == one.ndim == 1:
        return f"Expecting tensor size: {first.size} but got: {one.size}"
    shapes = ["[" + ",".join(map(str, array.shape)) + "]" for array in (first, one)]
    return f"Expecting shape {shapes[0]} but got: {shapes[1]}"


def _read_columns(inputs: Any, specs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if len(specs) == 1:
        name, spec = next(iter(specs.items()))
        if isinstance(inputs, dict) and not (is_base64(inputs) and _dtype(spec) is dtypes.STRING):
            if name not in inputs:
                raise invalid(f"JSON object: does not have named input: {name}")
            inputs = inputs[name]
        return {name: read_value(inputs, _dtype(spec))}
    if not isinstance(inputs, dict):
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    for name in specs:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: read_value(inputs[name], _dtype(spec)) for name, spec in specs.items()}


def _dtype(spec: Any) -> DataType:
    found = dtypes.BY_NUMBER.get(spec.dtype)
    if found is None:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value to type: {dtypes.name_of(spec.dtype)}")
    return found


# ---- answers


def write_outputs(outputs: Mapping[str, np.ndarray], as_rows: bool) -> bytes:
    """The answer document: ``predictions`` for row form, ``outputs`` for columnar form."""
    if as_rows:
        rows = None
        for name, array in outputs.items():
            if not array.ndim:
                raise invalid(f"Tensor name: {name} has no shape information ")
            rows = len(array) if rows is None else rows
            if len(array) != rows:
                raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
    values = {name: to_json(name, array) for name, array in outputs.items()}
    document: Any = next(iter(values.values())) if len(values) == 1 else values
    if as_rows and len(values) > 1:
        names = list(values)
        document = [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]
    finite = all(array.dtype.kind != "f" or np.isfinite(array).all() for array in outputs.values())
    whole = {"predictions" if as_rows else "outputs": document}
    if finite:
        return orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(whole, default=lambda array: array.tolist()).encode()
