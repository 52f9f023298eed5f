"""Malformed requests, bombs and slow clients: refused with an error, memory bounded, no other client disturbed."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hangtag.protocol import protobuf
from rest_stub import received
from support import Server, eventually

MODELS = Path(__file__).parent / "conformance" / "models"
IMAGE = np.full((1, 28, 28), 7, np.uint8).tolist()
PREDICTION = "/tensorflow.serving.PredictionService/"
CODES = ("OK", "INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED")
FEW = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def post(server: Server, body: bytes, **headers: str) -> requests.Response:
    return requests.post(f"{server.rest}/v1/models/fashion:predict", body, headers=headers, timeout=60)


def answers(server: Server) -> bool:
    return post(server, json.dumps({"instances": IMAGE}).encode()).status_code == 200


def resident_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just({"b64": "aGk="}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
signatures = st.sampled_from(["float32", "int64", "uint8", "string", "bool", "two", "scalar_out", "special", "float16"])


@FEW
@given(
    action=st.sampled_from(["predict", "classify", "regress"]),
    signature=signatures,
    key=st.sampled_from(["instances", "inputs", "examples", "context"]),
    value=json_values,
    cut=st.integers(0, 400),
)
def test_no_json_is_answered_with_a_500(recorded, action, signature, key, value, cut):
    body = json.dumps({"signature_name": signature, key: value}).encode()[: 400 - cut or None]
    answer = requests.post(f"{recorded.rest}/v1/models/types:{action}", body, timeout=60)
    assert answer.status_code in (200, 400, 404, 501), answer.text
    assert "Traceback" not in answer.text


@FEW
@given(
    path=st.text(st.characters(codec="ascii", exclude_characters=" \r\n#"), max_size=40), body=st.binary(max_size=60)
)
def test_every_path_gets_an_answer(recorded, path, body):
    connection = http.client.HTTPConnection(recorded.rest.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest("POST", "/v1/" + re.sub(r"[\x00-\x20\x7f]", "", path), skip_accept_encoding=True)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        assert connection.getresponse().status in (400, 404)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def channel(recorded) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(recorded.grpc) as opened:
        yield opened


head = protobuf.block(1, protobuf.text(1, "types") + protobuf.text(3, "float32"))


@FEW
@given(
    method=st.sampled_from(["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]),
    body=st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: head + b) | st.binary(max_size=60).map(
        lambda b: head + protobuf.block(2, protobuf.block(1, b"x") + protobuf.block(2, b))
    ),
)  # fmt: skip
def test_a_call_of_any_bytes_ends_with_a_status(channel, method, body):
    call = channel.unary_unary(PREDICTION + method).future(body, timeout=60)
    assert call.code().name in CODES
    assert "the server's log" not in (call.details() or "")


def test_no_malformed_request_left_a_traceback(recorded):
    assert "Traceback" not in recorded.log_text()


def test_bombs_are_refused_and_memory_stays_bounded(careful):
    """A body over the limit, with and without a Content-Length, a gzip bomb, and a hundred thousand brackets."""
    before = resident_bytes(careful)
    large = b"[" * 3_000_000

    def refused() -> bool:
        with suppress(requests.ConnectionError):  # while it was still being sent, for longer than the server reads on
            return post(careful, large).status_code == 413
        return False

    eventually(refused, "an answer to a body that is too large")
    with suppress(requests.ConnectionError):
        assert post(careful, (large[:100_000] for _ in range(1000))).status_code == 413
    bomb = post(careful, gzip.compress(b"\0" * 400_000_000, 9), **{"Content-Encoding": "gzip"})
    assert (bomb.status_code, bomb.json()) == (400, {"error": "JSON Parse error: The document is empty"})
    deep = post(careful, b'{"instances": ' + b"[" * 100_000)
    assert deep.json()["error"].startswith("JSON Parse error: The document is nested too deeply.")
    with grpc.insecure_channel(careful.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PREDICTION + "Predict")(b"\0" * 3_000_000, timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answers(careful)
    assert resident_bytes(careful) - before < 200_000_000


def test_two_hundred_slow_connections_delay_no_other(recorded):
    address = recorded.rest.removeprefix("http://").split(":")
    slow = [socket.create_connection((address[0], int(address[1])), 30) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/models/fashion:predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
        assert answers(recorded)
    finally:
        for connection in slow:
            connection.close()


def test_pipelined_requests_are_answered_in_order(recorded):
    """Pipelined on one connection, large and small, they are answered in order."""
    address = recorded.rest.removeprefix("http://").split(":")
    wanted = []
    with socket.create_connection((address[0], int(address[1])), 30) as connection:
        for rows in (1, 30, 1, 30):
            body = json.dumps({"instances": IMAGE * rows}).encode()
            text = f"POST /v1/models/fashion:predict HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(text.encode() + body)
            wanted.append(rows)
        file = connection.makefile("rb")
        for rows in wanted:
            headers = b"".join(iter(file.readline, b"\r\n"))
            size = int(re.search(rb"Content-Length: (\d+)", headers).group(1))
            assert len(json.loads(file.read(size))["predictions"]) == rows


def raw(server: Server, request: bytes) -> bytes:
    """All that comes back on a connection of its own, which the server closes."""
    host, port = server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(request)
        return received(connection)


BODY = json.dumps({"instances": IMAGE}).encode()
HEAD = f"POST /v1/models/fashion:predict HTTP/1.1\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n".encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v1/models/fashion NOT-HTTP\r\n\r\n", 400),
        (b"GET /v1/models/fashion HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nConnection: close\r\n\r\n", 501),
        (b"HELLO / HTTP/1.1\r\n\r\n", 501),
        (HEAD + b"Expect: miracles\r\n\r\n" + BODY, 417),
        (HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + BODY, 431),
        (HEAD + b"\r\n" + BODY, 200),
        (HEAD.replace(b"1.1", b"1.0") + b"\r\n" + BODY, 200),
    ],
    ids=["no HTTP", "bad length", "TRACE", "HELLO", "Expect", "large header", "close", "1.0"],
)
def test_http_itself_is_answered_as_libevent_does(recorded, request_bytes, status):
    """The server inside the C++ server; but that headers have a limit here."""
    answer = raw(recorded, request_bytes)
    assert int(answer.split()[1]) == status, answer
    assert answers(recorded)


def test_cors_headers_are_sent_if_a_flag_enables_them(careful, recorded):
    for path in ("/v1/models/fashion", "/nowhere"):
        headers = requests.get(careful.rest + path, timeout=60).headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Origin" not in requests.get(recorded.rest + path, timeout=60).headers


def test_the_access_log_has_a_line_of_json_for_each_request(careful):
    assert answers(careful)

    def entries() -> list[dict]:
        lines = [line for line in careful.log_text().splitlines(keepends=True) if line.startswith("{")]
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if one["api"] == "predict" and one["code"] == "OK" and one["door"] == "REST"]

    *_, entry = eventually(entries, "the line of the request")
    assert (entry["door"], entry["model"], entry["version"], entry["signature"]) == (
        "REST",
        "fashion",
        2,
        "serving_default",
    )


def test_metrics_have_the_cpp_servers_names(recorded):
    assert answers(recorded)
    version = r'^:hangtag:serving:request_count\{model_name="fashion",version="2",'
    text = eventually(  # a request is counted once it has been answered
        lambda: (
            (found := requests.get(f"{recorded.rest}/monitoring/prometheus/metrics", timeout=60).text)
            and re.search(version, found, re.M)
            and found
        ),
        "the request to be counted",
    )
    assert re.search(r'^:tensorflow:serving:request_count\{model_name="fashion",status="OK"\} \d+$', text, re.M)
    bucket = (
        r'^:tensorflow:serving:request_latency_bucket\{model_name="fashion",API="predict",entrypoint="REST",le="10"\} '
    )
    assert re.search(bucket, text, re.M)
    assert requests.get(f"{recorded.rest}/monitoring/prometheus/metrics?x", timeout=60).status_code == 400


def test_health_answers_when_it_was_asked_for(recorded, careful):
    check = "/grpc.health.v1.Health/Check"
    with grpc.insecure_channel(recorded.grpc) as channel:
        assert channel.unary_unary(check)(b"", timeout=60) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(check)(protobuf.text(1, "nobody"), timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
        assert next(watched) == b"\x08\x01"
        watched.cancel()
    with grpc.insecure_channel(careful.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(check)(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_unix_socket_answers_in_addition_to_the_port(careful):
    request = protobuf.block(1, protobuf.text(1, "fashion"))
    for target in (f"unix:{careful.log.parent / 'careful.sock'}", careful.grpc):
        with grpc.insecure_channel(target) as channel:
            answer = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request, timeout=60)
        assert b"\x08\x02\x10\x1e" in answer  # version 2, AVAILABLE
