"""REST servers that send no end of bytes, bombs, or surplus responses: a typed error in time, and little memory.

For the client's own connections, for a session of the caller's, and for aiohttp.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
import tracemalloc
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import requests

from both_clients import opened
from hangtag import BadResponse, DeadlineExceeded, HangtagError, InvalidInput, ServerError, ServerUnavailable
from raw_server import handling

STATUS = json.dumps({"model_version_status": []}).encode()
OK = b"HTTP/1.1 200 OK\r\n"
BLOCK = b"x" * (1 << 16)
BOMB = gzip.compress(bytes(1 << 27), 1)  # 570 KiB that inflate to 128 MiB


def head(*lines: bytes, first: bytes = OK) -> bytes:
    return first + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def endless(begin: bytes, block: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(begin)
        while True:
            connection.sendall(block)

    return handle


def once(*parts: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)
        connection.recv(1)  # until the client closes it

    return handle


def slowly(data: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        for place in range(len(data)):
            connection.sendall(data[place : place + 1])
            time.sleep(0.05)

    return handle


@pytest.fixture(params=["sync", "session", "async"])
def transport(request: pytest.FixtureRequest):
    """Opens a client: with its own connections, with a session of the caller's, or by aiohttp."""
    with requests.Session() as session:
        options = {"session": session} if request.param == "session" else {}
        kind = "async" if request.param == "async" else "sync"
        yield lambda target, **more: opened(kind, target, **{"retries": 0, **options, **more})


TOO_LARGE = {
    "endless chunks": endless(head(b"Transfer-Encoding: chunked"), b"10000\r\n" + BLOCK + b"\r\n"),
    "endless body": endless(head(b"Connection: close"), BLOCK),
    "ten gigabytes": endless(head(b"Content-Length: 10000000000"), BLOCK),
    "zip bomb": once(head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(BOMB)), BOMB),
    "zip bomb in a zip bomb": once(head(b"Content-Encoding: gzip, gzip", b"Content-Length: %d" % len(BOMB)), BOMB),
    "deep JSON": once(head(b"Content-Length: 1000000"), b"[" * 1_000_000),
}


@pytest.mark.parametrize("handle", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_response_larger_than_the_request_can_require_is_refused(transport, handle):
    with handling(handle) as target, transport(target, timeout=60) as client:
        tracemalloc.start()
        try:
            with pytest.raises(BadResponse):
                client.status()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 64 << 20


def test_an_endless_error_is_cut(transport):
    with (
        handling(endless(b"HTTP/1.1 500 X\r\n\r\n", BLOCK)) as target,
        transport(target, timeout=60) as client,
        pytest.raises(ServerError, match="HTTP 500") as caught,
    ):
        client.status()
    assert len(str(caught.value)) < 500


def test_a_bomb_in_an_error_is_cut(transport):
    bomb = once(head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(BOMB), first=b"HTTP/1.1 503 X\r\n"), BOMB)
    with (
        handling(bomb) as target,
        transport(target, timeout=60) as client,
        pytest.raises(ServerUnavailable, match="HTTP 503"),
    ):
        client.status()


LATE = {
    "endless 100": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "nothing": once(),
    "a head byte by byte": slowly(head(b"X: " + b"y" * 300)),
    "a body byte by byte": slowly(head(b"Content-Length: 1000") + b" " * 1000),
    "chunks of one byte": slowly(head(b"Transfer-Encoding: chunked") + b"1\r\n \r\n" * 300),
}


@pytest.mark.parametrize("handle", LATE.values(), ids=LATE)
def test_the_deadline_holds_however_the_server_delays(transport, handle):
    with (
        handling(handle) as target,
        transport(target, timeout=0.5) as client,
        pytest.raises(DeadlineExceeded, match=r"within the timeout of 0\.5 s"),
    ):
        client.status()


INTERIM = {
    "103 at once": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0.0),
    "103 before": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0.05),
    "102 twice": (b"HTTP/1.1 102 Processing\r\n\r\n" * 2, 0.05),
    "100 before": (b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
}


def echo(before: bytes, pause: float, after: bytes = b"") -> Callable[[socket.socket], None]:
    """Answers each Predict with its own number, after `before`; `after` follows the response."""

    def handle(connection: socket.socket) -> None:
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
            request, _, received = received.partition(b"\r\n\r\n")
            length = next((int(line[15:]) for line in request.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
            while len(received) < length:
                received += connection.recv(65536)
            body, received = received[:length], received[length:]
            if body:
                answer = json.dumps({"predictions": json.loads(body)["instances"]}).encode()
                connection.sendall(before)
                time.sleep(pause)
            else:
                answer = METADATA
            connection.sendall(head(b"Content-Length: %d" % len(answer)) + answer + after)

    return handle


SPEC = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}, "name": "x"}
SIGNATURE = {"inputs": {"x": SPEC}, "outputs": {"y": SPEC}}
METADATA = json.dumps(
    {
        "model_spec": {"name": "fashion", "version": "1"},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": {"inputs": {"x": SPEC}, "outputs": {"y": SPEC}}}}
        },
    }
).encode()


@pytest.mark.parametrize(("before", "pause"), INTERIM.values(), ids=INTERIM)
def test_no_call_gets_the_response_of_another_after_interim_responses(transport, before, pause):
    with handling(echo(before, pause)) as target, transport(target, timeout=60) as client:
        found = [client.predict({"x": np.array([float(number)], "f4")})["y"].tolist() for number in range(6)]
    assert found == [[number] for number in range(6)]


def test_surplus_bytes_after_a_response_close_its_connection(transport):
    """They are not the response to the next request."""
    surplus = head(b"Content-Length: 22") + b'{"predictions": [77]} '
    with handling(echo(b"", 0, surplus)) as target, transport(target, timeout=60) as client:
        for number in range(6):
            with_surplus = client.predict({"x": np.array([float(number)], "f4")})["y"].tolist()
            assert with_surplus == [number]


def test_switching_protocols_is_no_response(transport):
    with (
        handling(once(b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n" + STATUS)) as target,
        transport(target) as client,
        pytest.raises(HangtagError, match="HTTP 101"),
    ):
        client.status()


@pytest.mark.parametrize(
    "text", [r"\u001b[2J\u001b[31mall fine\nok\u0007", r"\ud800", r"a\u0000b", "\x9b31m", "x" * 1_000_000]
)
def test_control_characters_of_an_error_are_taken_out_and_long_ones_cut(transport, text):
    body = b'{"error": "%s"}' % text.encode()
    answer = head(b"Content-Length: %d" % len(body), first=b"HTTP/1.1 400 X\r\n") + body
    with (
        handling(once(answer)) as target,
        transport(target, timeout=60) as client,
        pytest.raises(InvalidInput) as caught,
    ):
        client.status()
    shown = str(caught.value)
    assert len(shown) < 1200
    assert shown.isprintable()


def test_a_host_name_that_does_not_resolve_ends_at_the_deadline(transport, monkeypatch):
    """The system's resolver knows no deadline."""
    release = count()
    real = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        if host == "models.example.test":
            while next(release) < 600:
                time.sleep(0.05)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        with transport("http://models.example.test:8501", timeout=1) as client, pytest.raises(DeadlineExceeded):
            client.status()
    finally:
        for _ in range(600):
            next(release)
