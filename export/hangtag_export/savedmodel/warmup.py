"""Warmup records: requests that TensorFlow Serving runs before a version becomes AVAILABLE.

Format: ``assets.extra/tf_serving_warmup_requests``, a TFRecord file of PredictionLog messages
(tensorflow_serving/g3doc/saved_model_warmup.md). If a request fails, the version does not load, so `verification` runs
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag import contract
from hangtag.optional import require

FILE = Path(contract.WARMUP)


def write(folder: Path, inputs: Mapping[str, Mapping[str, Any]], model_name: str) -> None:
    """Write one Predict request for each signature. `inputs` is signature name to arrays by input name."""
    tf = require("tensorflow", extra="export", what="exporting")
    predict_pb2 = require("tensorflow_serving.apis.predict_pb2", extra="export", what="exporting")
    prediction_log_pb2 = require("tensorflow_serving.apis.prediction_log_pb2", extra="export", what="exporting")
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, arrays in inputs.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model_name, signature
            for alias, array in arrays.items():
                request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            file.write(log.SerializeToString())


def read(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The signature names and arrays of the records in a version's folder."""
    tf = require("tensorflow", extra="export", what="exporting")
    prediction_log_pb2 = require("tensorflow_serving.apis.prediction_log_pb2", extra="export", what="exporting")
    records = []
    for record in tf.compat.v1.io.tf_record_iterator(str(folder / FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        arrays = {alias: tf.make_ndarray(tensor) for alias, tensor in request.inputs.items()}
        records.append((request.model_spec.signature_name, arrays))
    return records
