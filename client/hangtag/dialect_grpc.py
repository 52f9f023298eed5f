"""TensorFlow Serving's gRPC messages, written and read without protobuf.

Source: tensorflow_serving/apis/*.proto and tensorflow/core/protobuf/meta_graph.proto. The tests hold every message
against tensorflow-serving-api, byte for byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from . import dtypes, layout, tensors, wire
from .codes import CODES
from .exchange import Exchange
from .model import ModelMetadata, ModelSpec, Reply, Signature, TensorSpec, VersionStatus
from .tensors import Inputs, Stack
from .wire import WireError

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"

_MAX_EXPANSION = 16  # an honest answer grows most where a varint of one byte is a float64 or a pointer

# get_model_status.proto
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


# ---- requests


def predict(spec: ModelSpec, inputs: Inputs, signature: Signature) -> Exchange[Reply]:
    """PredictionService.Predict. `signature` is not needed here: the answer carries names and dtypes."""
    return Exchange("POST", _PREDICTION + "Predict", predict_request(spec, inputs), read_predict_response)


def metadata(spec: ModelSpec) -> Exchange[ModelMetadata]:
    """PredictionService.GetModelMetadata for the signatures."""
    body = wire.block(1, model_spec(spec)) + wire.text(2, "signature_def")
    return Exchange("POST", _PREDICTION + "GetModelMetadata", body, _read_metadata)


def status(spec: ModelSpec) -> Exchange[tuple[VersionStatus, ...]]:
    """ModelService.GetModelStatus."""
    return Exchange("POST", _MODEL + "GetModelStatus", wire.block(1, model_spec(spec)), _read_status)


@lru_cache(maxsize=256)
def model_spec(spec: ModelSpec) -> bytes:
    """A ModelSpec message."""
    version = b"" if spec.version is None else wire.block(2, wire.number(1, spec.version) if spec.version else b"")
    label = b"" if spec.version_label is None else wire.block(4, spec.version_label.encode())
    return wire.text(1, spec.name) + version + wire.text(3, spec.signature) + label


def predict_request(spec: ModelSpec, inputs: Inputs) -> bytes:
    """A PredictRequest message."""
    parts: list[bytes | memoryview] = [_spec_field(spec)]
    for name, array in inputs.items():
        if isinstance(array, Stack):
            parts.append(_input_head(name, array.dtype, array.shape))
            parts += [tensors.contiguous(part).data.cast("B") for part in array.parts]
        elif array.dtype.kind in "OSU" or not array.size:
            parts.append(wire.block(2, wire.block(1, name.encode()) + wire.block(2, tensors.encode(array))))
        else:
            # The hot path: all bytes but the pixels come from a cache, and the join makes the only copy.
            array = tensors.contiguous(array)
            parts += (_input_head(name, array.dtype, array.shape), array.data.cast("B") if array.ndim else array.data)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _spec_field(spec: ModelSpec) -> bytes:
    return wire.block(1, model_spec(spec))


@lru_cache(maxsize=1024)
def _input_head(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    empty = np.empty(0, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    tensor = tensors.head(dtypes.of_array(empty), shape) + wire.prefix(4, size)
    key = wire.block(1, name.encode())
    inside = key + wire.prefix(2, len(tensor) + size) + tensor
    return wire.prefix(2, len(inside) + size) + inside


# ---- answers


def read_predict_response(body: bytes) -> Reply:
    """Arrays by output name, and the version that computed them."""
    known = layout.recognize(body)
    if known is not None:
        return known
    outputs: dict[str, np.ndarray] = {}
    version: int | None = None
    held = 0
    for field, _, value in wire.fields(memoryview(body)):
        if field == 1:
            name, content = wire.map_entry(value)
            outputs[name] = tensors.decode(content)
            held += outputs[name].nbytes
            if held > _MAX_EXPANSION * len(body) + tensors.MAX_FILLED_BYTES:
                raise WireError(f"{len(body)} bytes that would fill more than {held}")
        elif field == 2:
            version = _version(wire.as_block(value))
    reply = Reply(outputs, version)
    layout.remember(body, reply)
    return reply


def _version(buffer: memoryview) -> int | None:
    # The same few bytes in every answer of a version: read once.
    return _known_version(bytes(buffer)) if len(buffer) <= 256 else read_model_spec(buffer).version


@lru_cache(maxsize=64)
def _known_version(content: bytes) -> int | None:
    return read_model_spec(memoryview(content)).version


def read_model_spec(buffer: memoryview) -> ModelSpec:
    """A ModelSpec message."""
    name = signature = ""
    version: int | None = None
    label: str | None = None
    for field, _, value in wire.fields(buffer):
        if field == 1:
            name = wire.as_text(value)
        elif field == 2:
            version = next((wire.as_int(v) for f, _, v in wire.fields(wire.as_block(value)) if f == 1), 0)
        elif field == 3:
            signature = wire.as_text(value)
        elif field == 4:
            label = wire.as_text(value)
    return ModelSpec(name, version, label, signature)


def _read_metadata(body: bytes) -> ModelMetadata:
    spec = ModelSpec("")
    signatures: dict[str, Signature] = {}
    for field, _, value in wire.fields(memoryview(body)):
        if field == 1:
            spec = read_model_spec(wire.as_block(value))
        elif field == 2:
            key, any_message = wire.map_entry(value)
            if key == "signature_def":
                signatures = _read_signature_map(any_message)
    if spec.version is None:
        raise WireError("metadata without a version")
    return ModelMetadata(spec.name, spec.version, signatures)


def _read_signature_map(any_message: memoryview) -> dict[str, Signature]:
    packed = next((wire.as_block(v) for f, _, v in wire.fields(any_message) if f == 2), memoryview(b""))
    entries = (wire.map_entry(v) for f, _, v in wire.fields(packed) if f == 1)
    return {name: _read_signature(content) for name, content in entries}


def _read_signature(buffer: memoryview) -> Signature:
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    method_name = ""
    for field, _, value in wire.fields(buffer):
        if field in (1, 2):
            name, content = wire.map_entry(value)
            (inputs if field == 1 else outputs)[name] = _read_tensor_info(content)
        elif field == 3:
            method_name = wire.as_text(value)
    return Signature(inputs, outputs, method_name)


def _read_tensor_info(buffer: memoryview) -> TensorSpec:
    name, dtype = "", "DT_INVALID"
    shape: tuple[int | None, ...] | None = ()
    for field, _, value in wire.fields(buffer):
        if field == 1:
            name = wire.as_text(value)
        elif field == 2:
            dtype = dtypes.name_of(wire.as_int(value))
        elif field == 3:
            shape = _read_open_shape(wire.as_block(value))
    return TensorSpec(name, dtype, shape)


def _read_open_shape(buffer: memoryview) -> tuple[int | None, ...] | None:
    dims: list[int | None] = []
    for field, _, value in wire.fields(buffer):
        if field == 3 and value:
            return None
        if field == 2:
            size = next((wire.as_int(v) for f, _, v in wire.fields(wire.as_block(value)) if f == 1), 0)
            dims.append(None if size < 0 else size)
            if len(dims) > tensors.MAX_RANK:
                raise WireError("a shape of too many dimensions")
    return tuple(dims)


def _read_status(body: bytes) -> tuple[VersionStatus, ...]:
    found = (wire.as_block(v) for f, _, v in wire.fields(memoryview(body)) if f == 1)
    return tuple(_read_version_status(content) for content in found)


def _read_version_status(buffer: memoryview) -> VersionStatus:
    version, state, code, message = 0, 0, 0, ""
    for field, _, value in wire.fields(buffer):
        if field == 1:
            version = wire.as_int(value)
        elif field == 2:
            state = wire.as_int(value)
        elif field == 3:
            for inner, _, part in wire.fields(wire.as_block(value)):
                if inner == 1:
                    code = wire.as_int(part)
                elif inner == 2:
                    message = wire.as_text(part)
    known = CODES[code] if 0 <= code < len(CODES) else str(code)
    return VersionStatus(version, _STATES.get(state, str(state)), known, message)
