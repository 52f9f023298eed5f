"""Encodes and decodes TensorFlow Serving's gRPC messages without protobuf.

Source: tensorflow_serving/apis/*.proto and tensorflow/core/protobuf/meta_graph.proto. The tests compare every message
with tensorflow-serving-api's, byte for byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..errors import CODES, server_text
from ..model import ModelMetadata, ModelSpec, Reply, Signature, TensorSpec, VersionStatus
from . import dtypes, protobuf, response_layout, tensors
from .protobuf import WireError
from .request import MAX_DESCRIPTION, MAX_RESPONSE, Request
from .tensors import Inputs, Stack

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"

_MAX_EXPANSION = 16  # arrays may be this much larger than their response: a varint of one byte may become 8 bytes
_BYTES_PER_VALUE = 16  # of complex128, the largest type; a varint has at most ten

# get_model_status.proto
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


# ---- requests


def predict(spec: ModelSpec, inputs: Inputs, signature: Signature, output: str | None = None) -> Request[Reply]:
    """PredictionService.Predict. The response names its outputs and dtypes; `signature` only limits its size.

    With `output`, the response has only that output (PredictRequest's `output_filter`).
    """
    rows = 1
    for array in inputs.values():
        if array.shape and array.shape[0] > rows:
            rows = array.shape[0]
    values = signature.values_per_row
    limit = MAX_RESPONSE if values is None else MAX_DESCRIPTION + _BYTES_PER_VALUE * values * rows
    body = predict_request(spec, inputs)
    if output is not None:
        body += protobuf.text(3, output)
    return Request("POST", _PREDICTION + "Predict", body, read_predict_response, limit)


def metadata(spec: ModelSpec) -> Request[ModelMetadata]:
    """PredictionService.GetModelMetadata for the signatures."""
    body = protobuf.block(1, model_spec(spec)) + protobuf.text(2, "signature_def")
    return Request("POST", _PREDICTION + "GetModelMetadata", body, _read_metadata, MAX_DESCRIPTION)


def status(spec: ModelSpec) -> Request[tuple[VersionStatus, ...]]:
    """ModelService.GetModelStatus."""
    return Request(
        "POST", _MODEL + "GetModelStatus", protobuf.block(1, model_spec(spec)), _read_status, MAX_DESCRIPTION
    )


def model_spec(spec: ModelSpec) -> bytes:
    """A ModelSpec message."""
    version = (
        b"" if spec.version is None else protobuf.block(2, protobuf.number(1, spec.version) if spec.version else b"")
    )
    label = b"" if spec.version_label is None else protobuf.block(4, spec.version_label.encode())
    return protobuf.text(1, spec.name) + version + protobuf.text(3, spec.signature) + label


def predict_request(spec: ModelSpec, inputs: Inputs) -> bytes:
    """A PredictRequest message."""
    parts: list[bytes | memoryview] = [_spec_field(spec)]
    for name, array in inputs.items():
        if isinstance(array, Stack):
            parts.append(_input_head(name, array.dtype, array.shape))
            parts += [tensors.contiguous(part).data.cast("B") for part in array.parts]
        elif array.dtype.kind in "OSU" or not array.size:
            parts.append(protobuf.block(2, protobuf.block(1, name.encode()) + protobuf.block(2, tensors.encode(array))))
        else:
            # The usual case: everything except the pixels is cached, and the join makes the only copy.
            if not array.flags.c_contiguous or array.dtype.byteorder == ">":
                array = tensors.contiguous(array)
            parts += (_input_head(name, array.dtype, array.shape), array.data)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _spec_field(spec: ModelSpec) -> bytes:
    return protobuf.block(1, model_spec(spec))


@lru_cache(maxsize=1024)
def _input_head(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    empty = np.empty(0, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    tensor = tensors.head(dtypes.of_array(empty), shape) + protobuf.prefix(4, size)
    key = protobuf.block(1, name.encode())
    inside = key + protobuf.prefix(2, len(tensor) + size) + tensor
    return protobuf.prefix(2, len(inside) + size) + inside


# ---- responses


def read_predict_response(body: bytes) -> Reply:
    """Arrays by output name, and the version that computed them."""
    known = response_layout.recognize(body)
    if known is not None:
        return known
    outputs: dict[str, np.ndarray] = {}
    version: int | None = None
    held = 0
    for field, _, value in protobuf.fields(memoryview(body)):
        if field == 1:
            name, content = protobuf.map_entry(value)
            outputs[name] = tensors.decode(content)
            held += outputs[name].nbytes
            if held > _MAX_EXPANSION * len(body) + tensors.MAX_FILLED_BYTES:
                raise WireError(f"{len(body)} bytes that would fill more than {held}")
        elif field == 2:
            version = read_model_spec(protobuf.as_block(value)).version
    reply = Reply(outputs, version)
    response_layout.remember(body, reply)
    return reply


def read_model_spec(buffer: memoryview) -> ModelSpec:
    """A ModelSpec message."""
    name = signature = ""
    version: int | None = None
    label: str | None = None
    for field, _, value in protobuf.fields(buffer):
        if field == 1:
            name = protobuf.as_text(value)
        elif field == 2:
            version = next((protobuf.as_int(v) for f, _, v in protobuf.fields(protobuf.as_block(value)) if f == 1), 0)
        elif field == 3:
            signature = protobuf.as_text(value)
        elif field == 4:
            label = protobuf.as_text(value)
    return ModelSpec(name, version, label, signature)


def _read_metadata(body: bytes) -> ModelMetadata:
    spec = ModelSpec("")
    signatures: dict[str, Signature] = {}
    for field, _, value in protobuf.fields(memoryview(body)):
        if field == 1:
            spec = read_model_spec(protobuf.as_block(value))
        elif field == 2:
            key, any_message = protobuf.map_entry(value)
            if key == "signature_def":
                signatures = _read_signature_map(any_message)
    if spec.version is None:
        raise WireError("metadata without a version")
    return ModelMetadata(spec.name, spec.version, signatures)


def _read_signature_map(any_message: memoryview) -> dict[str, Signature]:
    packed = next((protobuf.as_block(v) for f, _, v in protobuf.fields(any_message) if f == 2), memoryview(b""))
    entries = (protobuf.map_entry(v) for f, _, v in protobuf.fields(packed) if f == 1)
    return {name: read_signature(content) for name, content in entries}


def read_signature(buffer: memoryview) -> Signature:
    """A SignatureDef, from a GetModelMetadata response or a saved_model.pb."""
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    method_name, defaults = "", set()
    for field, _, value in protobuf.fields(buffer):
        if field in (1, 2):
            name, content = protobuf.map_entry(value)
            (inputs if field == 1 else outputs)[name] = _read_tensor_info(content)
        elif field == 3:
            method_name = protobuf.as_text(value)
        elif field == 4:
            defaults.add(protobuf.map_entry(value)[0])
    return Signature(inputs, outputs, method_name, frozenset(defaults))


def _read_tensor_info(buffer: memoryview) -> TensorSpec:
    name, dtype = "", "DT_INVALID"
    shape: tuple[int | None, ...] | None = ()
    for field, _, value in protobuf.fields(buffer):
        if field == 1:
            name = protobuf.as_text(value)
        elif field == 2:
            dtype = dtypes.name_of(protobuf.as_int(value))
        elif field == 3:
            shape = _read_open_shape(protobuf.as_block(value))
    return TensorSpec(name, dtype, shape)


def _read_open_shape(buffer: memoryview) -> tuple[int | None, ...] | None:
    dims: list[int | None] = []
    for field, _, value in protobuf.fields(buffer):
        if field == 3 and value:
            return None
        if field == 2:
            size = next((protobuf.as_int(v) for f, _, v in protobuf.fields(protobuf.as_block(value)) if f == 1), 0)
            dims.append(None if size < 0 else size)
            if len(dims) > tensors.MAX_RANK:
                raise WireError("a shape of too many dimensions")
    return tuple(dims)


def _read_status(body: bytes) -> tuple[VersionStatus, ...]:
    entries = (protobuf.as_block(v) for f, _, v in protobuf.fields(memoryview(body)) if f == 1)
    return tuple(_read_version_status(content) for content in entries)


def _read_version_status(buffer: memoryview) -> VersionStatus:
    version, state, code, message = 0, 0, 0, ""
    for field, _, value in protobuf.fields(buffer):
        if field == 1:
            version = protobuf.as_int(value)
        elif field == 2:
            state = protobuf.as_int(value)
        elif field == 3:
            for inner, _, part in protobuf.fields(protobuf.as_block(value)):
                if inner == 1:
                    code = protobuf.as_int(part)
                elif inner == 2:
                    message = protobuf.as_text(part)
    known = CODES[code] if 0 <= code < len(CODES) else str(code)
    return VersionStatus(version, _STATES.get(state, str(state)), known, server_text(message))
