"""Recorded traffic of TensorFlow Serving's own C++ server, answered by ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
from tensorflow_serving.apis import predict_pb2

from hangtag.optional import require

CONFORMANCE = Path(__file__).parent / "conformance"


def replay(server) -> subprocess.CompletedProcess[str]:
    rest = server.rest.removeprefix("http://")
    return subprocess.run(
        [
            sys.executable,
            CONFORMANCE / "replay.py",
            "--rest",
            rest,
            "--grpc",
            server.grpc,
            CONFORMANCE / "corpus.jsonl",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_every_recorded_answer_is_given_again(recorded):
    """By the compiled gRPC front, which is the default on loopback."""
    done = replay(recorded)
    assert "168 passed, 0 failed" in done.stdout, done.stdout + done.stderr


def test_grpcio_gives_the_same_answers(careful):
    done = replay(careful)
    assert "168 passed, 0 failed" in done.stdout, done.stdout + done.stderr


def test_rare_types_go_through_grpc_unharmed(recorded):
    """What numpy has no type for (bfloat16) and what JSON cannot carry, both ways."""
    tf = require("tensorflow", extra="serving", what="the test")
    with grpc.insecure_channel(recorded.grpc) as channel:
        for name in ("float64", "uint16", "uint32", "uint64", "float16", "bfloat16", "complex64"):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "types", name
            request.inputs["x"].CopyFrom(tf.make_tensor_proto([1, 0, 2], dtype=getattr(tf, name)))
            raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request.SerializeToString())
            answer = predict_pb2.PredictResponse.FromString(raw).outputs["y"]
            assert answer.dtype == request.inputs["x"].dtype
            assert tf.make_ndarray(answer).tolist() == [1, 0, 2]
