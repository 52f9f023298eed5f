"""gRPC servers that send too much, garbage, or statuses of a server that stops: a typed error, and bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from both_clients import opened
from hangtag import BadResponse, ServerError, ServerUnavailable
from hangtag.protocol.request import MAX_RESPONSE
from hangtag.transports import grpc as transport


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
