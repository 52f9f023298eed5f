"""Recorded traffic of TensorFlow Serving's own C++ server 2.20.0, answered by the embedded one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import replay
from tensorflow_serving.apis import predict_pb2

from hangtag.optional import require
from support import Server, serving

CONFORMANCE = Path(__file__).parent / "conformance"
DELIBERATE = CONFORMANCE / "deliberate.json"
CASES = 168 + 85


@pytest.fixture
def check_replay(capsys) -> Callable[[Server], None]:
    def check(server: Server) -> None:
        addresses = "--rest", server.rest.removeprefix("http://"), "--grpc", server.grpc
        corpora = str(CONFORMANCE / "corpus.jsonl"), str(CONFORMANCE / "edge_cases.jsonl")
        replay.main([*addresses, "--deliberate", str(DELIBERATE), *corpora])
        deliberate, output = len(json.loads(DELIBERATE.read_text())), capsys.readouterr().out
        assert f"{CASES - deliberate} passed, {deliberate} differ deliberately, 0 failed" in output, output

    return check


@pytest.mark.parametrize("server", ["recorded", "careful"])
def test_recorded_requests_get_the_recorded_answers(server, request, check_replay):
    """From the compiled gRPC server, which is the default on loopback, and from grpcio; over REST from both."""
    check_replay(request.getfixturevalue(server))


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_the_plain_path_gives_the_same_answers(front, recorded_flags, tmp_path, check_replay):
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
