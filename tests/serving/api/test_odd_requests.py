"""Requests that no usual client sends: each is refused with a typed error, and none is an internal one."""

from __future__ import annotations

import grpc
import pytest
import requests

from hangtag.model import ModelSpec
from hangtag.protocol import protobuf
from hangtag.protocol.grpc_codec import predict_request


def predict(server, request: bytes) -> bytes:
    with grpc.insecure_channel(server.grpc) as channel:
        return channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request, timeout=60)


def refused(server, request: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        predict(server, request)
    return caught.value.code(), caught.value.details()


def test_a_signature_that_names_what_cannot_be_fetched_is_refused(recorded):
    """TensorFlow's exports list the operation that initialises them among the signatures."""
    request = predict_request(ModelSpec("fashion", signature="__saved_model_init_op"), {})
    with grpc.insecure_channel(recorded.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.details() == "Node 'NoOp' (type: 'NoOp', num of outputs: 0) does not have output 0"


@pytest.mark.parametrize("shape", [[1] * 65, [1] * 254, [2**62, 2**62, 0]], ids=["65", "254", "wide"])
def test_a_shape_that_no_array_has_is_refused(recorded, shape):
    """TensorFlow has up to 254 dimensions, numpy 64, and numpy multiplies the dimensions next to a 0."""
    dims = b"".join(protobuf.block(2, protobuf.number(1, size) if size else b"") for size in shape)
    tensor = protobuf.number(1, 4) + protobuf.block(2, dims)  # uint8; without values it is zeros
    request = protobuf.block(1, protobuf.block(1, b"fashion")) + protobuf.block(
        2, protobuf.block(1, b"images") + protobuf.block(2, tensor)
    )
    assert refused(recorded, request) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: images")


@pytest.mark.parametrize("rank", [65, 253])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_a_list_with_more_levels_than_an_array_has_is_refused(recorded, form, rank):
    body = f'{{"{form}": {"[" * rank}1{"]" * rank}}}'
    answer = requests.post(f"{recorded.rest}/v1/models/fashion:predict", data=body, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"Cannot make a tensor of {rank} dimensions")


def test_zeros_before_a_version_mean_nothing_and_a_number_too_large_is_refused_with_an_empty_body(recorded):
    """With any number of digits, and any last ones."""

    def status(version: str) -> tuple[int, str]:
        answer = requests.get(f"{recorded.rest}/v1/models/fashion/versions/{version}", timeout=60)
        return answer.status_code, answer.text

    assert status("0" * 5000 + "2") == status("2")
    assert status("2")[0] == 200
    assert status("0")[0] == 404
    for version in (str(2**63), "7" + "0" * 3999 + "2", "7" + "0" * 5000 + "2"):
        assert status(version) == (400, "")
