"""Recorded traffic of TensorFlow Serving's own C++ server 2.20.0, answered by the embedded one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from hangtag.optional import require
from support import PATIENCE, serving

CONFORMANCE = Path(__file__).parent / "conformance"
DELIBERATE = CONFORMANCE / "deliberate.json"
CASES = 168 + 85


def replay(server) -> str:
    done = subprocess.run(
        [
            *(sys.executable, CONFORMANCE / "replay.py"),
            *("--rest", server.rest.removeprefix("http://")),
            *("--grpc", server.grpc),
            *("--deliberate", DELIBERATE),
            *(CONFORMANCE / "corpus.jsonl", CONFORMANCE / "edge_cases.jsonl"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return done.stdout + done.stderr


def check_replay(server) -> None:
    deliberate = len(json.loads(DELIBERATE.read_text()))
    output = replay(server)
    assert f"{CASES - deliberate} passed, {deliberate} differ deliberately, 0 failed" in output, output


@pytest.mark.parametrize("server", ["recorded", "careful"])
def test_recorded_requests_get_the_recorded_answers(server, request):
    """From the compiled gRPC server, which is the default on loopback, and from grpcio; over REST from both."""
    check_replay(request.getfixturevalue(server))


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_the_plain_path_gives_the_same_answers(front, recorded_flags, tmp_path):
    flags = [*recorded_flags, "--fast=off", f"--grpc_front={front}"]
    with serving(CONFORMANCE / "models" / "fashion", tmp_path / "log", *flags, versions=3) as server:
        check_replay(server)


def test_deliberate_differences_are_documented():
    page = next(Path(__file__).parents[2].glob("docs/**/serving.md")).read_text()
    for reason in json.loads(DELIBERATE.read_text()).values():
        assert reason in page


def test_rare_types_pass_unchanged_through_grpc(recorded):
    """Types that numpy does not have (bfloat16) and that JSON cannot carry, in both directions."""
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
