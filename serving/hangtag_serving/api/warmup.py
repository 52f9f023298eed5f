"""Runs the warmup requests of a version before it becomes available.

Semantics and texts: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc. The file is a TFRecord of
PredictionLog messages; if a request fails, the version does not load.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hangtag.contract import WARMUP
from hangtag.optional import require

from ..errors import ServingError, invalid
from ..limits import Budget
from ..models.servable import Servable
from ..tensors.decoding import TensorMessage
from . import classify
from .predict import check_inputs, chosen_outputs, read_tensors

MAX_RECORDS = 1000


def warm_up(servable: Servable, folder: Path, iterations: int = 1) -> int:
    """Run each of the version's warmup requests `iterations` times; returns their number."""
    path = folder / WARMUP
    if not path.is_file():
        return 0
    count = 0
    for record in _records(path):
        count += 1
        if count > MAX_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
        for _ in range(max(iterations, 1)):
            _run(servable, record)
    return count


def _records(path: Path) -> Iterator[bytes]:
    tf = require("tensorflow", extra="serving", what="hangtag serve")
    try:
        yield from tf.compat.v1.io.tf_record_iterator(str(path))
    except tf.errors.DataLossError as error:
        raise ServingError(
            "DATA_LOSS", f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from error


def _run(servable: Servable, record: bytes) -> None:
    pb = require("tensorflow_serving.apis.prediction_log_pb2", extra="serving", what="hangtag serve")
    try:
        log = pb.PredictionLog.FromString(record)
    except Exception as error:  # protobuf's DecodeError, whose module depends on the implementation
        raise invalid(f"Failed to parse warmup record: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind is None:  # C++ skips an empty record
        return
    if kind not in ("predict_log", "classify_log", "regress_log", "multi_inference_log"):
        raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
    request = getattr(log, kind).request
    if kind == "predict_log":
        _predict(servable, request)
        return
    examples, budget = memoryview(request.input.SerializeToString()), Budget(servable.limits)
    if kind == "classify_log":
        classify.classify(servable, request.model_spec.signature_name, examples, budget)
    elif kind == "regress_log":
        classify.regress(servable, request.model_spec.signature_name, examples, budget)
    else:
        classify.multi_inference(servable, request.tasks, examples, budget)


def _predict(servable: Servable, request: Any) -> None:
    name = request.model_spec.signature_name
    signature = servable.signature(name)
    if signature is None:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    check_inputs(signature, request.inputs.keys())
    sent = {alias: TensorMessage(tensor, {}) for alias, tensor in request.inputs.items()}
    inputs = read_tensors(signature, sent, Budget(servable.limits))
    servable.run(name, inputs, chosen_outputs(signature, list(request.output_filter)))
