"""TensorFlow Serving's gRPC methods as functions from request bytes to answer bytes.

Predict is read and written by the client's wire codec; the rarer methods use tensorflow-serving-api's messages.
Error texts: tensorflow_serving/servables/tensorflow/predict_util.cc and model_servers/get_model_status_impl.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hangtag import tensors, wire
from hangtag.codes import CODES
from hangtag.dialect_grpc import model_spec, read_model_spec
from hangtag.extras import require
from hangtag.model import ModelSpec
from hangtag.wire import WireError

from .errors import ServingError, invalid
from .models import Models
from .servable import Servable

Method = Callable[[bytes], bytes]


def methods(models: Models) -> dict[str, Method]:
    """Full method name to function; each raises ServingError."""
    metadata = require("tensorflow_serving.apis.get_model_metadata_pb2", extra="serving", what="hangtag serve")
    status = require("tensorflow_serving.apis.get_model_status_pb2", extra="serving", what="hangtag serve")
    return {
        "/tensorflow.serving.PredictionService/Predict": lambda body: predict(models, body),
        "/tensorflow.serving.PredictionService/GetModelMetadata": lambda body: _metadata(models, metadata, body),
        "/tensorflow.serving.ModelService/GetModelStatus": lambda body: _status(models, status, body),
    }


# ---- Predict


def predict(models: Models, body: bytes) -> bytes:
    """PredictRequest to PredictResponse."""
    spec, raw_inputs, output_filter = _read_request(body)
    if spec is None:
        raise invalid("Missing ModelSpec")
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    with models.use(spec) as servable:
        signature = servable.signature(spec.signature)
        if signature is None:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{spec.signature}" not found.')
        _check_inputs(signature, raw_inputs.keys())
        inputs = {alias: _tensor(alias, content) for alias, content in raw_inputs.items()}
        outputs = _chosen(signature, output_filter)
        arrays = servable.run(spec.signature, inputs, outputs)
        return _response(servable, spec.signature, dict(zip(outputs, arrays, strict=True)))


def _read_request(body: bytes) -> tuple[ModelSpec | None, dict[str, memoryview], list[str]]:
    spec: ModelSpec | None = None
    inputs: dict[str, memoryview] = {}
    output_filter = []
    try:
        for field, _, value in wire.fields(memoryview(body)):
            if field == 1:
                spec = read_model_spec(wire.as_block(value))
            elif field == 2:
                alias, content = wire.map_entry(value)
                inputs[alias] = content
            elif field == 3:
                output_filter.append(wire.as_text(value))
    except WireError as error:
        raise ServingError("INTERNAL", f"Failed parsing request: {error}") from error
    return spec, inputs, output_filter


def _tensor(alias: str, content: memoryview) -> np.ndarray:
    try:
        return tensors.decode(content)
    except WireError as error:
        raise invalid(f"tensor parsing error: {alias}") from error


def _check_inputs(signature: Any, sent: Any) -> None:
    expected = set(signature.inputs)
    if len(sent) != len(expected):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_list(expected)}}}) != "
            f"len({{{_list(sent)}}}). Sent extra: {{{_list(set(sent) - expected)}}}. "
            f"Missing but required: {{{_list(expected - set(sent))}}}."
        )
    for alias in sorted(expected):
        if alias not in sent:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {{{_list(sent)}}}, or default input "
                "alias set: "
            )


def _chosen(signature: Any, output_filter: Sequence[str]) -> list[str]:
    """The outputs asked for; an empty filter means all."""
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            known = _list(signature.outputs)
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{known}}}."
            )
        if alias in output_filter[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or sorted(signature.outputs)


def _list(names: Any) -> str:
    return ",".join(sorted(names))


def _response(servable: Servable, signature_name: str, outputs: dict[str, np.ndarray]) -> bytes:
    spec = ModelSpec(servable.name, servable.version, None, signature_name or "serving_default")
    entries = [
        wire.block(1, wire.block(1, alias.encode()) + wire.block(2, tensors.encode(array)))
        for alias, array in outputs.items()
    ]
    return b"".join([*entries, wire.block(2, model_spec(spec))])


# ---- the other two


def _metadata(models: Models, pb: Any, body: bytes) -> bytes:
    request = _parse(pb.GetModelMetadataRequest, body)
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid(f"Metadata field {field} is not supported")
    with models.use(_spec(request.model_spec)) as servable:
        answer = pb.GetModelMetadataResponse()
        answer.model_spec.name = servable.name
        answer.model_spec.version.value = servable.version
        answer.metadata["signature_def"].Pack(signature_map(servable))
        serialized: bytes = answer.SerializeToString()
    return serialized


def signature_map(servable: Servable) -> Any:
    """The SignatureDefMap message of a servable."""
    pb = require("tensorflow_serving.apis.get_model_metadata_pb2", extra="serving", what="hangtag serve")
    found = pb.SignatureDefMap()
    for name, signature in servable.signatures.items():
        found.signature_def[name].CopyFrom(signature)
    return found


def _status(models: Models, pb: Any, body: bytes) -> bytes:
    request = _parse(pb.GetModelStatusRequest, body)
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    answer = pb.GetModelStatusResponse()
    for version in models.status(_spec(request.model_spec)):
        entry = answer.model_version_status.add()
        entry.version = version.number
        entry.state = pb.ModelVersionStatus.State.Value(version.state)
        entry.status.error_code = CODES.index(version.error_code)
        entry.status.error_message = version.error_message
    serialized: bytes = answer.SerializeToString()
    return serialized


def _parse(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose home differs between its implementations
        raise ServingError("INTERNAL", f"Failed parsing request: {error}") from error


def _spec(message: Any) -> ModelSpec:
    version = message.version.value if message.HasField("version") else None
    label = message.version_label if message.WhichOneof("version_choice") == "version_label" else None
    return ModelSpec(message.name, version, label, message.signature_name)
