"""TensorFlow Serving's REST documents, written and read.

Source: tensorflow.org/tfx/serving/api_rest and tensorflow_serving/util/json_tensor.cc. Requests are columnar
(``{"inputs": …}``), except for a single input, whose answer in row form (``{"instances": …}``) is shorter.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from ..core.steps import Exchange
from ..errors import InvalidInput
from ..model import ModelMetadata, ModelSpec, Reply, Signature, TensorSpec, VersionStatus
from . import dtypes
from .pixel_json import pixel_text
from .tensors import Inputs, Stack

_NOT_IN_JSON = ("float16", "uint16", "complex64", "complex128")  # and bfloat16: json_tensor.cc, UNIMPLEMENTED


def predict(spec: ModelSpec, inputs: Inputs, signature: Signature) -> Exchange[Reply]:
    """POST :predict. The answer names a single output nowhere and its dtype never: both come from `signature`."""
    document: dict[str, Any] = {"signature_name": spec.signature} if spec.signature else {}
    arrays = {name: array.joined() if isinstance(array, Stack) else array for name, array in inputs.items()}
    if len(arrays) == 1 and _all_batched(signature):
        (pixels,) = arrays.values()
        if pixels.dtype == np.uint8 and pixels.ndim > 1:
            head = orjson.dumps(document)[:-1] + (b"," if document else b"")
            text = pixel_text(pixels, head + b'"instances":', b"}")
            if text is not None:
                return Exchange("POST", _path(spec) + ":predict", text, partial(_read_predictions, signature=signature))
    values = {name: _to_json(array) for name, array in arrays.items()}
    rows = len(values) == 1 and all(array.ndim for array in arrays.values()) and _all_batched(signature)
    if rows:
        document["instances"] = next(iter(values.values()))
    else:
        document["inputs"] = values
    body = _dump(document, arrays)
    return Exchange("POST", _path(spec) + ":predict", body, partial(_read_predictions, signature=signature))


def metadata(spec: ModelSpec) -> Exchange[ModelMetadata]:
    """GET …/metadata."""
    return Exchange("GET", _path(spec) + "/metadata", b"", _read_metadata)


def status(spec: ModelSpec) -> Exchange[tuple[VersionStatus, ...]]:
    """GET the model's status."""
    return Exchange("GET", _path(spec), b"", _read_status)


def _path(spec: ModelSpec) -> str:
    path = "/v1/models/" + quote(spec.name, safe="")
    if spec.version is not None:
        return f"{path}/versions/{spec.version}"
    if spec.version_label is not None:
        return f"{path}/labels/{quote(spec.version_label, safe='')}"
    return path


def _all_batched(signature: Signature) -> bool:
    """The row form needs a batch dimension in every output."""
    return all(spec.shape is None or len(spec.shape) > 0 for spec in signature.outputs.values())


# ---- writing


def _to_json(array: np.ndarray) -> Any:
    """`array` as orjson takes it: numbers as they are, byte strings as ``{"b64": …}``."""
    if array.dtype.name in _NOT_IN_JSON or array.dtype == dtypes.BFLOAT16.numpy:
        raise InvalidInput(f"REST carries no {dtypes.of_array(array).name} tensors: use gRPC, or cast the array")
    if array.dtype.kind in "OSU":
        flat = [_string(item) for item in array.ravel().tolist()]
        return np.array(flat, object).reshape(array.shape).tolist() if array.ndim != 1 else flat
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")) if array.ndim else array.item()


def _string(item: str | bytes) -> Any:
    return item if isinstance(item, str) else {"b64": base64.b64encode(item).decode()}


def _dump(document: dict[str, Any], inputs: Mapping[str, np.ndarray]) -> bytes:
    if any(array.dtype.kind in "fc" and not np.isfinite(array).all() for array in inputs.values()):
        # The server reads bare NaN and Infinity, which orjson turns into null.
        return json.dumps(document, default=np.ndarray.tolist).encode()
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


# ---- reading


def parse(body: bytes) -> Any:
    """A JSON document of the server's dialect: bare NaN and Infinity are numbers, and a string may hold any bytes.

    Raises ValueError, or RecursionError.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body.decode("utf-8", "surrogateescape"))


def _read_predictions(body: bytes, signature: Signature) -> Reply:
    document = parse(body)
    specs = signature.outputs
    if "predictions" in document:
        rows = document["predictions"]
        if len(specs) > 1:
            columns = {name: [row[name] for row in rows] for name in specs}
        else:
            columns = dict.fromkeys(specs, rows)
    else:
        outputs = document["outputs"]
        columns = outputs if len(specs) > 1 else dict.fromkeys(specs, outputs)
    return Reply({name: _to_array(columns[name], spec) for name, spec in specs.items()}, None)


def _to_array(value: Any, spec: TensorSpec) -> np.ndarray:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype is dtypes.BFLOAT16:
        raise ValueError(f"output of dtype {spec.dtype}")
    if dtype is dtypes.STRING:
        return _strings(value)
    array = np.array(value)
    if array.dtype.kind not in "buif":  # numpy would read null as NaN and "1" as 1
        raise ValueError(f"values of {array.dtype} where {spec.dtype} belongs")
    # Not astype: whole numbers over 2 ** 63 beside small ones have become float64 by now.
    return np.array(value, dtype.numpy) if array.dtype.kind != dtype.numpy.kind else array.astype(dtype.numpy)


def _strings(value: Any) -> np.ndarray:
    """Nested lists of strings as an object array of bytes, as gRPC gives them."""
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
        base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode("utf-8", "surrogateescape")
        for item in flat
    ]
    return array.reshape(shape)


def _read_metadata(body: bytes) -> ModelMetadata:
    document = parse(body)
    spec = document["model_spec"]
    found = document["metadata"]["signature_def"]["signature_def"]
    signatures = {
        name: Signature(_specs(entry.get("inputs")), _specs(entry.get("outputs")), _text(entry.get("method_name", "")))
        for name, entry in found.items()
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
            _text(entry["state"]),
            _text(entry["status"]["error_code"]),
            _text(entry["status"]["error_message"]),
        )
        for entry in parse(body)["model_version_status"]
    )
