"""TensorFlow Serving's gRPC methods as functions from request bytes to response bytes.

Predict uses the client's wire codec; the other methods use tensorflow-serving-api's messages.
Error texts: tensorflow_serving/servables/tensorflow/predict_util.cc and model_servers/*_impl.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hangtag.model import ModelSpec
from hangtag.protocol import protobuf
from hangtag.protocol.grpc_codec import model_spec
from hangtag.protocol.protobuf import WireError

from ..errors import ServingError
from ..limits import DEFAULT, Budget, Limits
from ..models.registry import Models
from ..models.servable import Servable
from ..request_log import Recorder
from ..tensors.decoding import TensorMessage
from ..tensors.decoding import parse as parse_tensor
from ..tensors.encoding import Encode
from . import classify, grpc_model_service
from .grpc_messages import api, checked_spec, fill_spec, parse, read_spec, spec_of, to_bytes, unreadable
from .predict import check_inputs, check_method, chosen_outputs, read_tensors

Method = Callable[[bytes], bytes]

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
PREDICT = _PREDICTION + "Predict"
RELOAD = _MODEL + "HandleReloadConfigRequest"

_FIELD_BYTES = 64  # counted for each field of a request, to limit their number
_ENTRY_BYTES = 1 << 14  # memory of a spec, an input or a name in the output filter, without its content


def methods(models: Models, encode: Encode, recorder: Recorder, limits: Limits = DEFAULT) -> dict[str, Method]:
    """Full method name to function; each raises ServingError. `encode` writes the tensors of responses."""
    read, read_examples = partial(read_predict, limits=limits), partial(_read_examples, limits)
    return {
        PREDICT: partial(_recorded, recorder, models, "Predict", read, partial(predict, encode)),
        _PREDICTION + "Classify": partial(_recorded, recorder, models, "Classify", read_examples, _classify),
        _PREDICTION + "Regress": partial(_recorded, recorder, models, "Regress", read_examples, _regress),
        _PREDICTION + "MultiInference": partial(_multi_inference, models, limits),
        _PREDICTION + "GetModelMetadata": partial(grpc_model_service.metadata, models, limits),
        _MODEL + "GetModelStatus": partial(grpc_model_service.status, models, limits),
        RELOAD: partial(grpc_model_service.reload, models, limits),
    }


R = TypeVar("R", "PredictRequest", "_Examples")


def _recorded(
    recorder: Recorder,
    models: Models,
    api: str,
    read: Callable[[bytes], R],
    answer: Callable[[Servable, R], bytes],
    body: bytes,
) -> bytes:
    """Read a request, let the version that it asks for answer it, and record the outcome."""
    with recorder.note(api, "GRPC", len(body)) as note:
        request = read(body)
        note.model, note.signature = request.spec.name, request.spec.signature
        with models.use(request.spec) as note.servable:
            return answer(note.servable, request)


# ---- Predict


class PredictRequest(NamedTuple):
    """A PredictRequest; its tensors are not decoded yet."""

    spec: ModelSpec
    inputs: dict[str, TensorMessage]
    output_filter: list[str]
    budget: Budget


class Checked(NamedTuple):
    """A Predict call that has passed all checks except TensorFlow's own."""

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: list[str]


def predict(encode: Encode, servable: Servable, request: PredictRequest) -> bytes:
    """PredictRequest to PredictResponse."""
    call = checked(servable, request)
    return response(servable, call, servable.run(*call, budget=request.budget), encode)


def checked(servable: Servable, request: PredictRequest) -> Checked:
    """The signature to run for a request, with its inputs and outputs; raises ServingError."""
    name = request.spec.signature
    signature = servable.signature(name)
    if signature is None:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    check_method(servable, signature)
    check_inputs(signature, request.inputs.keys())
    return Checked(
        name, read_tensors(signature, request.inputs, request.budget), chosen_outputs(signature, request.output_filter)
    )


def read_predict(body: bytes, limits: Limits = DEFAULT) -> PredictRequest:
    """Parse a PredictRequest; raises ServingError."""
    spec: ModelSpec | None = None
    inputs: dict[str, TensorMessage] = {}
    output_filter = []
    budget = Budget(limits)
    try:
        for field, kind, value in protobuf.fields(memoryview(body)):
            budget.take(_FIELD_BYTES)
            if kind != protobuf.LENGTH or isinstance(value, int):
                continue  # protobuf ignores a field of another wire type
            if field == 1:
                budget.take(_ENTRY_BYTES)
                spec = read_spec(value, budget)
            elif field == 2:
                budget.take(_ENTRY_BYTES)
                alias, content = protobuf.map_entry(value)
                inputs[alias] = parse_tensor(content, budget)
            elif field == 3:
                budget.take(_ENTRY_BYTES + len(value))
                output_filter.append(protobuf.as_text(value))
    except WireError as error:
        raise unreadable(error) from error
    return PredictRequest(checked_spec(spec), inputs, output_filter, budget)


def response(servable: Servable, call: Checked, arrays: list[np.ndarray], encode: Encode) -> bytes:
    """A serialized PredictResponse."""
    parts = []
    for alias, array in zip(call.outputs, arrays, strict=True):
        key, tensor = protobuf.block(1, alias.encode()), encode(array)
        value = protobuf.prefix(2, len(tensor))
        parts += [protobuf.prefix(1, len(key) + len(value) + len(tensor)), key, value, tensor]
    parts.append(_spec_field(servable.name, servable.version, call.signature or "serving_default"))
    return b"".join(parts)


@lru_cache(maxsize=256)
def _spec_field(name: str, version: int, signature_name: str) -> bytes:
    return protobuf.block(2, model_spec(ModelSpec(name, version, None, signature_name)))


# ---- Classify, Regress, MultiInference


class _Examples(NamedTuple):
    """A ClassificationRequest or RegressionRequest."""

    spec: ModelSpec
    input: memoryview
    budget: Budget


def _classify(servable: Servable, request: _Examples) -> bytes:
    answer = api("classification_pb2").ClassificationResponse()
    rows = classify.classify(servable, request.spec.signature, request.input, request.budget)
    _fill_classification(answer.result, rows)
    fill_spec(answer.model_spec, servable, request.spec.signature)
    return to_bytes(answer)


def _regress(servable: Servable, request: _Examples) -> bytes:
    answer = api("regression_pb2").RegressionResponse()
    _fill_regression(answer.result, classify.regress(servable, request.spec.signature, request.input, request.budget))
    fill_spec(answer.model_spec, servable, request.spec.signature)
    return to_bytes(answer)


def _multi_inference(models: Models, limits: Limits, body: bytes) -> bytes:
    pb = api("inference_pb2")
    budget = Budget(limits)
    request = parse(pb.MultiInferenceRequest, body, budget)
    spec = checked_spec(spec_of(request.tasks[0].model_spec) if request.tasks else ModelSpec(""))
    answer = pb.MultiInferenceResponse()
    content = memoryview(request.input.SerializeToString())
    with models.use(spec) as servable:
        for task, result in classify.multi_inference(servable, request.tasks, content, budget):
            entry = answer.results.add()
            fill_spec(entry.model_spec, servable, task.model_spec.signature_name)
            if task.method_name == classify.CLASSIFY:
                _fill_classification(entry.classification_result, result)
            else:
                _fill_regression(entry.regression_result, result)
    return to_bytes(answer)


def _read_examples(limits: Limits, body: bytes) -> _Examples:
    spec: ModelSpec | None = None
    content = memoryview(b"")
    budget = Budget(limits)
    try:
        for field, kind, value in protobuf.fields(memoryview(body)):
            budget.take(_FIELD_BYTES)
            if kind != protobuf.LENGTH or isinstance(value, int):
                continue
            if field == 1:
                budget.take(_ENTRY_BYTES)
                spec = read_spec(value, budget)
            elif field == 2:
                content = value
    except WireError as error:
        raise unreadable(error) from error
    return _Examples(checked_spec(spec), content, budget)


def _fill_classification(result: Any, rows: list[classify.Scored]) -> None:
    for row in rows:
        entry = result.classifications.add()
        for label, score in row:
            entry.classes.add(label=label.decode("utf-8", "replace"), score=score)


def _fill_regression(result: Any, values: list[float]) -> None:
    for value in values:
        result.regressions.add(value=value)
