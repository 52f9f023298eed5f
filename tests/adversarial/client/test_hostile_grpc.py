"""gRPC servers that send too much, garbage, or statuses of a server that stops: a typed error, and bounded memory."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

import http2_frames as http2
from both_clients import opened
from hangtag import BadResponse, ServerError, ServerUnavailable
from hangtag.protocol.request import MAX_RESPONSE
from hangtag.transports import grpc as transport
from raw_server import handling


@contextmanager
def answering(
    body: bytes = b"", code: str = "", compression: grpc.Compression = grpc.Compression.NoCompression
) -> Iterator[str]:
    """A server that sends this body, or this status, in response to everything."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            def answer(request, context):
                if code:
                    context.abort(grpc.StatusCode[code], "stopped \x1b[31mnow\n")
                context.set_compression(compression or grpc.Compression.NoCompression)
                return body

            return grpc.unary_unary_rpc_method_handler(answer)

    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool, handlers=[Handler()], options=[("grpc.max_send_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        pool.shutdown()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_larger_than_any_response_is_refused(kind, compression, monkeypatch):
    """Before it is inflated; the test lowers the bound, which no message reaches quickly."""
    name = "grpc.max_receive_message_length"
    assert dict(transport._OPTIONS)[name] == MAX_RESPONSE
    options = tuple(option for option in transport._OPTIONS if option[0] != name)
    monkeypatch.setattr(transport, "_OPTIONS", (*options, (name, 1 << 20)))
    with (
        answering(bytes(1 << 26), compression=compression) as target,
        opened(kind, target, timeout=60, retries=0) as client,
        pytest.raises(BadResponse, match="larger than max"),
    ):
        client.status()


@pytest.mark.parametrize("body", [b"\x0a\x00" * 3_000_000, os.urandom(10_000)], ids=["statuses", "garbage"])
def test_what_no_status_can_be_is_refused(kind, body):
    with (
        answering(body) as target,
        opened(kind, target, timeout=60, retries=0) as client,
        pytest.raises(BadResponse),
    ):
        client.status()


STATUS_OK = [("grpc-status", "0")]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]


def block(fields: list[tuple[str, str]]) -> bytes:
    return b"".join(http2.literal(*field) for field in fields)


def head(*frames: tuple[int, int, bytes]) -> list[tuple[int, int, bytes]]:
    return [(http2.HEADERS, http2.END_HEADERS, block(RESPONSE)), *frames]


LAST = http2.END_HEADERS | http2.END_STREAM
ODD = {
    "no message": (head((http2.HEADERS, LAST, block(STATUS_OK))), ServerUnavailable, "the answer broke off"),
    "half a message": (
        head((http2.DATA, 0, http2.message(bytes(9))[:9]), (http2.HEADERS, LAST, block(STATUS_OK))),
        ServerUnavailable,
        "the answer broke off",
    ),
    "a stream that is reset": (head((http2.RESET, 0, bytes(3) + b"\2")), ServerUnavailable, "RST_STREAM"),
    "trailers of 20 KB": (
        head((http2.HEADERS, LAST, block([*STATUS_OK, *((f"x{n}", "a" * 100) for n in range(200))]))),
        BadResponse,
        "received metadata size exceeds",
    ),
}


@pytest.mark.parametrize(("frames", "error", "message"), ODD.values(), ids=ODD)
def test_a_response_that_is_none(kind, frames, error, message):
    """grpc gives None for a status OK without a message."""

    def handle(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        stream.read(len(http2.PREFACE))
        connection.sendall(http2.frame(http2.SETTINGS, 0, 0))
        while received := stream.read(9):
            size, code, flags, number = *struct.unpack(">I", b"\0" + received[:3]), *struct.unpack(">BBI", received[3:])
            stream.read(size)
            if code == http2.SETTINGS and not flags:
                connection.sendall(http2.frame(http2.SETTINGS, 1, 0))
            if code == http2.DATA and flags & http2.END_STREAM:
                connection.sendall(b"".join(http2.frame(what, bits, number, payload) for what, bits, payload in frames))

    with (
        handling(handle) as url,
        opened(kind, url.removeprefix("http://"), timeout=60, retries=0) as client,
        pytest.raises(error, match=message),
    ):
        client.status()


@pytest.mark.parametrize(
    ("code", "error"),
    [("CANCELLED", ServerUnavailable), ("UNAVAILABLE", ServerUnavailable), ("DATA_LOSS", ServerError)],
)
def test_the_text_of_a_status_has_no_control_characters(kind, code, error):
    with (
        answering(code=code) as target,
        opened(kind, target, timeout=60, retries=1) as client,
        pytest.raises(error, match="stopped now") as caught,
    ):
        client.status()
    assert str(caught.value).isprintable()
