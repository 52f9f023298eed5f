"""HTTP/2 and gRPC as only an attacker sends them: other clients are still answered, and memory stays bounded."""

from __future__ import annotations

import gzip
import os
import re
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import starmap
from pathlib import Path

import grpc
import numpy as np
import pytest

from hangtag import Client
from hangtag.model import ModelSpec
from hangtag.protocol import protobuf
from hangtag.protocol.grpc_codec import predict_request
from http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREDICT,
    RESET,
    SETTINGS,
    WINDOW,
    call,
    call_headers,
    connect,
    frame,
    integer,
    literal,
    message,
)
from support import PATIENCE, Server, eventually

MODELS = Path(__file__).parents[2] / "serving" / "conformance" / "models"
IMAGE = np.full((1, 28, 28), 7, np.uint8)
REQUEST = predict_request(ModelSpec("fashion"), {"images": IMAGE})
ROUNDS = int(os.environ.get("HANGTAG_HTTP2_ROUNDS", "1"))
"""More in a long run."""
MIB = 1 << 20

pytestmark = pytest.mark.timeout(3 * PATIENCE * ROUNDS)


def check_answers(server: Server) -> None:
    with Client(server.grpc, timeout=PATIENCE, retries=0) as client:
        assert client.predict({"images": IMAGE})["probabilities"].shape == (1, 10)


def resident_bytes(server: Server) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


def send(connection: socket.socket, *frames: bytes) -> None:
    """As much as the server takes: it may close the connection, or read no more."""
    connection.settimeout(5)
    with suppress(OSError):
        connection.sendall(b"".join(frames))


def rapid_resets(connection: socket.socket) -> None:
    for first in range(1, 8001, 200):
        numbers = range(first, first + 200, 2)
        send(connection, *(call(n, REQUEST) + frame(RESET, 0, n, struct.pack(">I", 8)) for n in numbers))


def endless_headers(connection: socket.socket) -> None:
    send(connection, frame(HEADERS, 0, 1, call_headers()))
    for number in range(1000):
        send(connection, frame(CONTINUATION, 0, 1, literal(f"x-{number}", "y" * 16000)))


def empty_continuations(connection: socket.socket) -> None:
    send(connection, frame(HEADERS, 0, 1, call_headers()), frame(CONTINUATION, 0, 1) * 100_000)


def header_bomb(connection: socket.socket) -> None:
    """A header of 4 KB in the table, and 80,000 references to it of one byte each."""
    indexed = b"\x40" + integer(5, 7) + b"x-big" + integer(4000, 7) + b"z" * 4000
    send(connection, frame(HEADERS, 0, 1, call_headers() + indexed))
    send(connection, frame(CONTINUATION, 0, 1, b"\xbe" * 16000) * 5, frame(CONTINUATION, END_HEADERS, 1, b"\xbe"))


def pings(connection: socket.socket) -> None:
    send(connection, frame(PING, 0, 0, b"\0" * 8) * 100_000)


def settings(connection: socket.socket) -> None:
    send(connection, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 100_000)


def half_open(connection: socket.socket) -> None:
    send(connection, *(frame(HEADERS, END_HEADERS, n, call_headers()) for n in range(1, 2001, 2)))


def begun_messages(connection: socket.socket) -> None:
    """Calls whose message says that it has 4 GB."""
    opened = range(1, 201, 2)
    send(connection, *(frame(HEADERS, END_HEADERS, n, call_headers()) for n in opened))
    send(connection, *(frame(DATA, 0, n, b"\0\xff\xff\xff\xff" + b"x" * 1000) for n in opened))


def unread_answers(connection: socket.socket) -> None:
    """To a client whose window is closed."""
    send(connection, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    send(connection, *(call(n, REQUEST) for n in range(1, 1001, 2)))


def bad_frames(connection: socket.socket) -> None:
    send(connection, frame(WINDOW, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2, frame(DATA, 0, 0, b"x"), b"\xff" * 70_000)


ATTACKS = [
    rapid_resets, endless_headers, empty_continuations, header_bomb, pings, settings, half_open, begun_messages,
    unread_answers, bad_frames,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attacker_blocks_no_other_client(server, attack: Callable[[socket.socket], None]):
    """While ten such connections are open, and after them."""
    before = resident_bytes(server)
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            for _ in range(10):
                attack(stack.enter_context(connect(server.grpc)))
            check_answers(server)
            assert resident_bytes(server) - before < 300 * MIB
        check_answers(server)


def test_idle_connections_block_no_other_client(server):
    host, _, port = server.grpc.rpartition(":")
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection((host, int(port)), 60))
        check_answers(server)


def test_health_watches_block_no_other_client(server):
    """Each of them runs until its client ends it."""
    with grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        watches = [channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=120) for _ in range(60)]
        assert [next(watch) for watch in watches] == [b"\x08\x01"] * 60
        check_answers(server)
        for watch in watches:
            watch.cancel()


def model_config(name: str, base_path: Path) -> bytes:
    """An entry of a ModelConfigList."""
    return protobuf.block(1, protobuf.text(1, name) + protobuf.text(2, str(base_path)) + protobuf.text(4, "tensorflow"))


def test_reloads_that_wait_for_a_model_block_no_other_client(server, tmp_path):
    """More of them than the server has threads, for a model that has no version."""
    folders = {"fashion": MODELS / "fashion", "types": MODELS / "types", "nowhere": tmp_path}
    request = protobuf.block(1, protobuf.block(1, b"".join(starmap(model_config, folders.items()))))
    with grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        futures = [reload.future(request, timeout=1) for _ in range(40)]
        assert {future.code() for future in futures} - {grpc.StatusCode.OK}, "one at least says that it has none"
        check_answers(server)


def test_a_compressed_message_is_bounded_when_it_is_inflated(server):
    """By grpcio; the compiled server, which is for this machine's own clients, inflates it and refuses it then."""
    if "grpcio" not in str(server.log):
        pytest.skip("counts a message when it has arrived")
    before = resident_bytes(server)
    bomb = gzip.compress(b"\0" * 300_000_000)
    with connect(server.grpc) as connection:
        connection.sendall(frame(HEADERS, END_HEADERS, 1, call_headers(PREDICT, ("grpc-encoding", "gzip"))))
        body = message(bomb, 1)
        pieces = [body[start : start + 16000] for start in range(0, len(body), 16000)]
        send(connection, *(frame(DATA, 0, 1, piece) for piece in pieces), frame(DATA, END_STREAM, 1))
        check_answers(server)
        assert resident_bytes(server) - before < 400 * MIB


def test_memory_is_given_back(server):
    """After all attacks, or most of it."""
    check_answers(server)
    before = resident_bytes(server)
    with ExitStack() as stack:
        for _ in range(20):
            half_open(stack.enter_context(connect(server.grpc)))
        check_answers(server)
    for _ in range(3):
        with ExitStack() as stack:
            for _ in range(20):
                half_open(stack.enter_context(connect(server.grpc)))
    eventually(lambda: resident_bytes(server) - before < 200 * MIB, "the memory of calls that have ended")


@pytest.mark.parametrize("name", ["a\r\nx: y", "a\0b", "鞋" * 3000, "😀" * 2000, "é" * 1020, "a" * 100_000, "%41%zz"])
def test_any_name_comes_back_in_an_error(server, name):
    """Clients refuse a status message that is too large; it is cut by bytes."""
    with grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(PREDICT).future(predict_request(ModelSpec(name), {}), timeout=60)
        assert call.code() is grpc.StatusCode.NOT_FOUND
        assert call.details().startswith("Servable not found for request: Latest(" + name[:1])
