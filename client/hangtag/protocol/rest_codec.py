"""Encodes and decodes TensorFlow Serving's REST documents.

Source: tensorflow.org/tfx/serving/api_rest and tensorflow_serving/util/json_tensor.cc. A request with one input and one
output has the row form (``{"instances": …}``). All others have the columnar form (``{"inputs": …}``), where the first
dimensions of the outputs may differ.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from ..errors import InvalidInput, server_text
from ..model import ModelMetadata, ModelSpec, Reply, Signature, TensorSpec, VersionStatus
from . import dtypes
from .pixel_json import pixel_text
from .request import MAX_DESCRIPTION, MAX_RESPONSE, Request
from .tensors import Inputs, Stack

# json_tensor.cc answers UNIMPLEMENTED for these
_NOT_IN_JSON = ("DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64", "DT_COMPLEX128")

_BYTES_PER_VALUE = 32  # -1.7976931348623157e+308 and the separators around it


def predict(spec: ModelSpec, inputs: Inputs, signature: Signature, output: str | None = None) -> Request[Reply]:
    """POST :predict. The response has no dtypes and no name for a single output; both come from `signature`.

    `output` is ignored: REST cannot ask for one output alone.
    """
    for name, gives in signature.outputs.items():
        if gives.dtype in _NOT_IN_JSON:
            kind = gives.dtype.removeprefix("DT_").lower()
            raise InvalidInput(
                f"output {name} is {kind}, which REST does not support: use gRPC, or cast it in the model"
            )
    arrays = {}
    for name, array in inputs.items():
        arrays[name] = array.joined() if isinstance(array, Stack) else array
    fields: dict[str, Any] = {"signature_name": spec.signature} if spec.signature else {}
    first = next(iter(arrays.values()), None)
    body: bytes | bytearray | None = None
    # The row form needs the same batch dimension in every output.
    if len(arrays) == 1 and first is not None and first.ndim and len(signature.outputs) == 1 and gives.shape != ():
        if first.dtype == np.uint8 and first.ndim > 1:
            head = orjson.dumps(fields)[:-1] + (b"," if fields else b"")
            body = pixel_text(first, head + b'"instances":', b"}")
        if body is None:
            body = _dump({**fields, "instances": _to_json(first)}, arrays)
    else:
        body = _dump({**fields, "inputs": {name: _to_json(array) for name, array in arrays.items()}}, arrays)
    rows = len(first) if first is not None and first.ndim else 1
    values = signature.values_per_row
    limit = MAX_RESPONSE if values is None else MAX_DESCRIPTION + _BYTES_PER_VALUE * values * rows
    return Request("POST", _path(spec) + ":predict", body, partial(_read_predictions, signature=signature), limit)


def metadata(spec: ModelSpec) -> Request[ModelMetadata]:
    """GET …/metadata."""
    return Request("GET", _path(spec) + "/metadata", b"", _read_metadata, MAX_DESCRIPTION)


def status(spec: ModelSpec) -> Request[tuple[VersionStatus, ...]]:
    """GET the model's status."""
    return Request("GET", _path(spec), b"", _read_status, MAX_DESCRIPTION)


@lru_cache(maxsize=256)
def _path(spec: ModelSpec) -> str:
    path = "/v1/models/" + quote(spec.name, safe="")
    if spec.version is not None:
        return f"{path}/versions/{spec.version}"
    if spec.version_label is not None:
        return f"{path}/labels/{quote(spec.version_label, safe='')}"
    return path


# ---- writing


def _to_json(array: np.ndarray) -> Any:
    """`array` in a form that orjson can write; byte strings become ``{"b64": …}``."""
    dtype = dtypes.of_array(array)
    if dtype.name in _NOT_IN_JSON:
        raise InvalidInput(f"REST does not support {dtype.name} tensors: use gRPC, or cast the array")
    if 0 in array.shape[:-1]:
        raise InvalidInput(f"JSON cannot represent the shape {list(array.shape)} of an empty array: use gRPC")
    if dtype is dtypes.STRING:
        flat = [
            item if isinstance(item, str) else {"b64": base64.b64encode(item).decode()}
            for item in array.ravel().tolist()
        ]
        return np.array(flat, object).reshape(array.shape).tolist() if array.ndim != 1 else flat
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")) if array.ndim else array.item()


def _dump(document: dict[str, Any], inputs: Mapping[str, np.ndarray]) -> bytes:
    if any(array.dtype.kind in "fc" and not np.isfinite(array).all() for array in inputs.values()):
        # The server reads bare NaN and Infinity, which orjson turns into null.
        return json.dumps(document, default=np.ndarray.tolist).encode()
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


# ---- reading


def parse(body: bytes) -> Any:
    """A JSON document as the server writes it: with bare NaN and Infinity, and with any bytes in strings.

    Raises ValueError or RecursionError.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body.decode("utf-8", "surrogateescape"))


def _read_predictions(body: bytes, signature: Signature) -> Reply:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = parse(body)
    specs = signature.outputs
    columns: Mapping[str, Any]
    if "predictions" in document:
        rows = document["predictions"]
        columns = (
            {name: [row[name] for row in rows] for name in specs} if len(specs) > 1 else dict.fromkeys(specs, rows)
        )
    else:
        outputs = document["outputs"]
        columns = outputs if len(specs) > 1 else dict.fromkeys(specs, outputs)
    arrays = {}
    for name, spec in specs.items():  # no comprehension, which before Python 3.12 is one more call
        arrays[name] = _to_array(columns[name], spec)
    return Reply(arrays, None)


def _to_array(value: Any, spec: TensorSpec) -> np.ndarray:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype is dtypes.BFLOAT16:
        raise ValueError(f"output of dtype {spec.dtype}")
    if dtype is dtypes.STRING:
        array = _strings(value)
    else:
        array = np.array(value)
        if array.dtype != dtype.numpy:
            array = _converted(array, value, dtype.numpy, spec.dtype)
    if array.size or spec.shape is None or len(spec.shape) <= array.ndim:
        return array
    # An empty JSON list does not show its inner dimensions, so they come from the signature.
    return array.reshape(*array.shape, *(size or 0 for size in spec.shape[array.ndim :]))


def _converted(array: np.ndarray, value: Any, dtype: np.dtype, name: str) -> np.ndarray:
    """Numbers as `dtype`; raises ValueError where numpy would read null as NaN, "1" and true as 1, or 0.5 as 0."""
    kind = array.dtype.kind
    if array.size and kind not in {"f": "fiu", "i": "iuf", "u": "iuf", "b": "b"}[dtype.kind]:
        raise ValueError(f"values of {array.dtype} where {name} belongs")
    if dtype.kind not in "iu":
        return array.astype(dtype)
    if kind == "f":  # numpy makes float64 of whole numbers above 2 ** 63 among small ones
        if not (array == np.rint(array)).all():
            raise ValueError(f"values of {array.dtype} where {name} belongs")
        return np.array(value, dtype)
    limits = np.iinfo(dtype)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise ValueError(f"values that {name} cannot hold")
    return array.astype(dtype)


def _strings(value: Any) -> np.ndarray:
    """Nested lists of strings as an object array of bytes, as over gRPC."""
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list):
        size = len(flat[0])
        if not all(isinstance(part, list) and len(part) == size for part in flat):
            raise ValueError("lists of strings of unequal lengths")
        shape.append(size)
        flat = [item for part in flat for item in part]
    array = np.empty(len(flat), object)
    array[:] = [
        base64.b64decode(item["b64"], validate=True)
        if isinstance(item, dict)
        else item.encode("utf-8", "surrogateescape")
        for item in flat
    ]
    return array.reshape(shape)


def _read_metadata(body: bytes) -> ModelMetadata:
    document = parse(body)
    spec = document["model_spec"]
    entries = document["metadata"]["signature_def"]["signature_def"]
    signatures = {
        name: Signature(
            _specs(entry.get("inputs")),
            _specs(entry.get("outputs")),
            _text(entry.get("method_name", "")),
            frozenset(entry.get("defaults") or ()),
        )
        for name, entry in entries.items()
    }
    return ModelMetadata(_text(spec["name"]), int(spec["version"]), signatures)


def _specs(entries: dict[str, Any] | None) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(_text(entry.get("name", "")), _text(entry["dtype"]), _shape(entry.get("tensor_shape", {})))
        for name, entry in (entries or {}).items()
    }


def _shape(entry: dict[str, Any]) -> tuple[int | None, ...] | None:
    if entry.get("unknown_rank"):
        return None
    sizes = (int(dim["size"]) for dim in entry.get("dim", []))
    return tuple(None if size < 0 else size for size in sizes)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where a string belongs")
    return value


def _read_status(body: bytes) -> tuple[VersionStatus, ...]:
    return tuple(
        VersionStatus(
            int(entry["version"]),
            server_text(_text(entry["state"])),
            server_text(_text(entry["status"]["error_code"])),
            server_text(_text(entry["status"]["error_message"])),
        )
        for entry in parse(body)["model_version_status"]
    )
