"""TensorFlow Serving's gRPC methods as functions from request bytes to answer bytes.

Predict is read and written by the client's wire codec; the rarer methods use tensorflow-serving-api's messages.
Error texts: tensorflow_serving/servables/tensorflow/predict_util.cc and model_servers/*_impl.cc.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from hangtag import wire
from hangtag.codes import CODES
from hangtag.dialect_grpc import model_spec, read_model_spec
from hangtag.extras import require
from hangtag.model import ModelSpec
from hangtag.wire import WireError

from . import examples
from .errors import ServingError, invalid
from .models import Models
from .prediction import check_inputs, check_method, chosen_outputs, read_tensors
from .recorder import Recorder
from .servable import Servable
from .tensor_protos import Encode

Method = Callable[[bytes], bytes]

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
PREDICT = _PREDICTION + "Predict"


def methods(models: Models, encode: Encode, recorder: Recorder) -> dict[str, Method]:
    """Full method name to function; each raises ServingError. `encode` writes the tensors of answers."""
    return {
        PREDICT: partial(_recorded, recorder, models, "Predict", read_predict, partial(predict, encode)),
        _PREDICTION + "Classify": partial(_recorded, recorder, models, "Classify", _read_examples, _classify),
        _PREDICTION + "Regress": partial(_recorded, recorder, models, "Regress", _read_examples, _regress),
        _PREDICTION + "MultiInference": partial(_multi_inference, models),
        _PREDICTION + "GetModelMetadata": partial(_metadata, models),
        _MODEL + "GetModelStatus": partial(_status, models),
        _MODEL + "HandleReloadConfigRequest": partial(_reload, models),
    }


def api(name: str) -> Any:
    """A module of tensorflow-serving-api."""
    return require(f"tensorflow_serving.apis.{name}", extra="serving", what="hangtag serve")


class _Asked(Protocol):
    """What every read request says first."""

    @property
    def spec(self) -> ModelSpec:
        """Which model, version and signature."""


R = TypeVar("R", bound=_Asked)


def _recorded(
    recorder: Recorder,
    models: Models,
    api: str,
    read: Callable[[bytes], R],
    answer: Callable[[Servable, R], bytes],
    body: bytes,
) -> bytes:
    """Read a request, answer it by the version it means, and note how it went."""
    begun = time.perf_counter()
    servable: Servable | None = None
    spec, code = ModelSpec(""), "OK"
    try:
        request = read(body)
        spec = request.spec
        with models.use(spec) as servable:
            return answer(servable, request)
    except ServingError as error:
        code = error.code
        raise
    except Exception:
        code = "INTERNAL"
        raise
    finally:
        recorder.answered(
            model=spec.name,
            api=api,
            door="GRPC",
            code=code,
            begun=begun,
            servable=servable,
            signature=spec.signature,
            size=len(body),
        )


# ---- Predict


class PredictRequest(NamedTuple):
    """A PredictRequest whose tensors are not decoded yet."""

    spec: ModelSpec
    inputs: dict[str, memoryview]
    output_filter: list[str]


class Call(NamedTuple):
    """A Predict that has passed all checks but those of TensorFlow."""

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: list[str]


def predict(encode: Encode, servable: Servable, request: PredictRequest) -> bytes:
    """PredictRequest to PredictResponse."""
    call = checked(servable, request)
    return response(servable, call, servable.run(*call), encode)


def checked(servable: Servable, request: PredictRequest) -> Call:
    """What to run for a request."""
    name = request.spec.signature
    signature = servable.signature(name)
    if signature is None:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    check_method(servable, signature)
    check_inputs(signature, request.inputs.keys())
    return Call(name, read_tensors(signature, request.inputs), chosen_outputs(signature, request.output_filter))


def read_predict(body: bytes) -> PredictRequest:
    """The spec, the TensorProtos by input, and the output filter of a PredictRequest."""
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
        raise _unreadable(error) from error
    return PredictRequest(_checked_spec(spec), inputs, output_filter)


def _checked_spec(spec: ModelSpec | None) -> ModelSpec:
    if spec is None:
        raise invalid("Missing ModelSpec")
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return spec


def response(servable: Servable, call: Call, arrays: list[np.ndarray], encode: Encode) -> bytes:
    """A PredictResponse."""
    parts = []
    for alias, array in zip(call.outputs, arrays, strict=True):
        key, tensor = _key(alias), encode(array)
        parts += [wire.prefix(1, len(key) + len(tensor) + _prefix_size(len(tensor))), key]
        parts += [wire.prefix(2, len(tensor)), tensor]
    parts.append(_spec_field(servable.name, servable.version, call.signature or "serving_default"))
    return b"".join(parts)


def _prefix_size(size: int) -> int:
    return len(wire.prefix(2, size))


@lru_cache(maxsize=256)
def _key(alias: str) -> bytes:
    return wire.block(1, alias.encode())


@lru_cache(maxsize=256)
def _spec_field(name: str, version: int, signature_name: str) -> bytes:
    return wire.block(2, model_spec(ModelSpec(name, version, None, signature_name)))


# ---- Classify, Regress, MultiInference


class _Examples(NamedTuple):
    """A ClassificationRequest or RegressionRequest."""

    spec: ModelSpec
    input: memoryview


def _classify(servable: Servable, request: _Examples) -> bytes:
    answer = api("classification_pb2").ClassificationResponse()
    fill_classification(answer.result, examples.classify(servable, request.spec.signature, request.input))
    _fill_spec(answer.model_spec, servable, request.spec.signature)
    return _bytes(answer)


def _regress(servable: Servable, request: _Examples) -> bytes:
    answer = api("regression_pb2").RegressionResponse()
    fill_regression(answer.result, examples.regress(servable, request.spec.signature, request.input))
    _fill_spec(answer.model_spec, servable, request.spec.signature)
    return _bytes(answer)


def _multi_inference(models: Models, body: bytes) -> bytes:
    pb = api("inference_pb2")
    request = _parse(pb.MultiInferenceRequest, body)
    spec = _checked_spec(_spec(request.tasks[0].model_spec) if request.tasks else ModelSpec(""))
    answer = pb.MultiInferenceResponse()
    content = memoryview(request.input.SerializeToString())
    with models.use(spec) as servable:
        for task, result in examples.multi_inference(servable, request.tasks, content):
            entry = answer.results.add()
            _fill_spec(entry.model_spec, servable, task.model_spec.signature_name)
            if task.method_name == examples.CLASSIFY:
                fill_classification(entry.classification_result, result)
            else:
                fill_regression(entry.regression_result, result)
    return _bytes(answer)


def _read_examples(body: bytes) -> _Examples:
    spec: ModelSpec | None = None
    content = memoryview(b"")
    try:
        for field, _, value in wire.fields(memoryview(body)):
            if field == 1:
                spec = read_model_spec(wire.as_block(value))
            elif field == 2:
                content = wire.as_block(value)
    except WireError as error:
        raise _unreadable(error) from error
    return _Examples(_checked_spec(spec), content)


def fill_classification(result: Any, rows: list[examples.Scored]) -> None:
    """Write rows of classes into a ClassificationResult."""
    for row in rows:
        entry = result.classifications.add()
        for label, score in row:
            entry.classes.add(label=label.decode("utf-8", "replace"), score=score)


def fill_regression(result: Any, values: list[float]) -> None:
    """Write numbers into a RegressionResult."""
    for value in values:
        result.regressions.add(value=value)


# ---- metadata, status, reload


def _metadata(models: Models, body: bytes) -> bytes:
    pb = api("get_model_metadata_pb2")
    request = _parse(pb.GetModelMetadataRequest, body)
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid(f"Metadata field {field} is not supported")
    with models.use(_checked_spec(_spec(request.model_spec))) as servable:
        answer = pb.GetModelMetadataResponse()
        answer.model_spec.name = servable.name
        answer.model_spec.version.value = servable.version
        answer.metadata["signature_def"].Pack(signature_map(servable))
        return _bytes(answer)


def signature_map(servable: Servable) -> Any:
    """The SignatureDefMap message of a servable."""
    found = api("get_model_metadata_pb2").SignatureDefMap()
    for name, signature in servable.signatures.items():
        found.signature_def[name].CopyFrom(signature)
    return found


def _status(models: Models, body: bytes) -> bytes:
    pb = api("get_model_status_pb2")
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
    return _bytes(answer)


def _reload(models: Models, body: bytes) -> bytes:
    pb = api("model_management_pb2")
    request = _parse(pb.ReloadConfigRequest, body)
    if not request.config.HasField("model_config_list"):
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    models.reload(request.config)
    return _bytes(pb.ReloadConfigResponse(status={"error_code": 0}))


# ---- messages


def _fill_spec(message: Any, servable: Servable, signature_name: str) -> None:
    message.name = servable.name
    message.version.value = servable.version
    message.signature_name = signature_name or "serving_default"


def _parse(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose home differs between its implementations
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ServingError:
    return ServingError("INTERNAL", f"Failed parsing request: {error}")


def _bytes(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


def _spec(message: Any) -> ModelSpec:
    version = message.version.value if message.HasField("version") else None
    label = message.version_label if message.WhichOneof("version_choice") == "version_label" else None
    return ModelSpec(message.name, version, label, message.signature_name)
