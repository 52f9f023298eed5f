"""Both gRPC servers, as they are, over methods that only echo: what one client may hold, and how they stop."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
import pytest

from hangtag_serving.api.grpc_methods import PREDICT, RELOAD, Method
from hangtag_serving.errors import ServingError
from hangtag_serving.grpc import grpcio_server
from hangtag_serving.grpc.grpcio_server import GrpcioServer
from hangtag_serving.grpc.interface import GrpcOptions, GrpcServer
from hangtag_serving.grpc.native_server import NativeServer
from http2_frames import END_HEADERS, HEADERS, call_headers, connect, frame
from support import eventually, free_port

ROUNDS = int(os.environ.get("HANGTAG_RESTARTS", "4"))
SERVERS = {"native": NativeServer, "grpcio": GrpcioServer}
MAX_MESSAGE_BYTES = 100_000
DIRECT = [("grpc.enable_http_proxy", 0)]


def fail(_: bytes) -> bytes:
    raise ServingError("NOT_FOUND", "x" * 5000)


@contextmanager
def serving(
    kind: str, methods: Mapping[str, Method] | None = None, port: int | None = None
) -> Iterator[tuple[GrpcServer, str]]:
    """A server that listens, and its address."""
    address = f"127.0.0.1:{port or free_port()}"
    known = {PREDICT: lambda body: body, RELOAD: fail, **(methods or {})}
    options = GrpcOptions(address, threads=4, health=True, max_message_bytes=MAX_MESSAGE_BYTES)
    server: GrpcServer = SERVERS[kind](options, known)
    server.start()
    stopped = threading.Event()
    stop = server.stop

    def stop_once(grace: float) -> None:
        stopped.set()
        stop(grace)

    server.stop = stop_once  # type: ignore[method-assign]
    try:
        yield server, address
    finally:
        if not stopped.is_set():
            stop(0.0)


def call(address: str, body: bytes = b"x", method: str = PREDICT) -> bytes:
    with grpc.insecure_channel(address, DIRECT) as channel:
        return channel.unary_unary(method)(body, timeout=60)


@pytest.fixture(params=SERVERS)
def kind(request) -> str:
    return request.param


def test_calls_that_send_no_request_hold_no_thread(kind):
    with serving(kind) as (_, address), connect(address) as connection:
        opened = range(1, 401, 2)
        connection.sendall(b"".join(frame(HEADERS, END_HEADERS, n, call_headers()) for n in opened))
        assert call(address) == b"x"


def test_a_call_that_sends_no_request_ends(monkeypatch):
    """By grpcio; the compiled server's clients are on this machine."""
    monkeypatch.setattr(grpcio_server, "_REQUEST_SECONDS", 0.2)
    with serving("grpcio") as (_, address), grpc.insecure_channel(address, DIRECT) as channel:
        never = threading.Event()

        def requests() -> Iterator[bytes]:
            never.wait(60)
            yield b""

        pending = channel.stream_unary(PREDICT).future(requests(), timeout=60)
        assert pending.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no request within 0.2 seconds" in pending.details()
        never.set()


def test_a_flood_of_calls_cancels_no_other(kind):
    """grpc itself cancels waiting calls at random, from 1,000 on, unless it is set up not to."""
    with serving(kind) as (_, address):
        connections = [connect(address) for _ in range(10)]
        try:
            for connection in connections:
                opened = range(1, 501, 2)
                connection.sendall(b"".join(frame(HEADERS, END_HEADERS, n, call_headers()) for n in opened))
            for _ in range(20):
                assert call(address) == b"x"
        finally:
            for connection in connections:
                connection.close()


def test_reloads_that_wait_hold_no_thread_of_other_calls(kind):
    gate = threading.Event()

    def reload(body: bytes) -> bytes:
        gate.wait(60)
        return body

    with serving(kind, {RELOAD: reload}) as (_, address), grpc.insecure_channel(address, DIRECT) as channel:
        waiting = [channel.unary_unary(RELOAD).future(b"", timeout=60) for _ in range(20)]
        assert call(address) == b"x"
        gate.set()
        assert all(future.code() is grpc.StatusCode.OK for future in waiting)


def test_other_errors_of_grpc_aio_are_logged(monkeypatch, caplog):
    """Only the traceback for an answer that a client no longer takes is dropped."""

    async def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(GrpcioServer, "_call", broken)
    with serving("grpcio") as (_, address), pytest.raises(grpc.RpcError):
        call(address)
    (record,) = [record for record in caplog.records if record.name == "grpc._cython.cygrpc"]
    assert "ZeroDivisionError" in record.getMessage()
    assert record.exc_info


def test_a_watch_that_cannot_be_read_is_refused_and_not_logged(kind, caplog):
    with serving(kind) as (_, address), grpc.insecure_channel(address, DIRECT) as channel:
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff", timeout=60)
        assert watching.code() is grpc.StatusCode.INTERNAL
        assert "Failed parsing request" in watching.details()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused(kind, compression):
    """Counted after decompression; the server goes on."""
    with serving(kind) as (_, address), grpc.insecure_channel(address, DIRECT) as channel:
        predict = channel.unary_unary(PREDICT)
        refused = predict.future(bytes(MAX_MESSAGE_BYTES + 1), timeout=60, compression=compression)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "arger than max" in refused.details()
        assert len(predict(bytes(MAX_MESSAGE_BYTES), timeout=60, compression=compression)) == MAX_MESSAGE_BYTES


def test_a_long_error_is_cut(kind):
    with serving(kind) as (_, address), pytest.raises(grpc.RpcError) as caught:
        call(address, method=RELOAD)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "x" * 1024 + "...TRUNCATED"


def test_a_stop_waits_for_what_runs(kind):
    entered, gate = threading.Event(), threading.Event()

    def slow(body: bytes) -> bytes:
        entered.set()
        gate.wait(60)
        return body

    with serving(kind, {PREDICT: slow}) as (server, address), grpc.insecure_channel(address, DIRECT) as channel:
        running = channel.unary_unary(PREDICT).future(b"x", timeout=60)
        entered.wait(60)
        stopping = threading.Thread(target=server.stop, args=(60.0,))
        stopping.start()
        time.sleep(0.3)
        assert not running.done()
        gate.set()
        assert running.result() == b"x"
        stopping.join(60)
        assert not stopping.is_alive()


def test_every_call_is_answered_when_the_server_stops(kind):
    """grpcio answers all of them, and then refuses connections; the compiled server refuses the last calls."""
    outcomes: Counter[str] = Counter()
    for _ in range(ROUNDS):
        over = threading.Event()
        counts = [0] * 6
        with serving(kind) as (server, address):

            def client(
                place: int, address: str = address, over: threading.Event = over, counts: list[int] = counts
            ) -> None:
                with grpc.insecure_channel(address, DIRECT) as channel:
                    predict = channel.unary_unary(PREDICT)
                    while not over.is_set():
                        try:
                            predict(b"x", timeout=60)
                            counts[place] += 1
                        except grpc.RpcError as error:
                            outcomes[f"{error.code().name}: {error.details()[:28]}"] += 1
                            over.wait(0.02)

            threads = [threading.Thread(target=client, args=(place,)) for place in range(6)]
            for thread in threads:
                thread.start()
            eventually(lambda counts=counts: min(counts) > 20, "calls of every client")
            server.stop(10.0)
            over.set()
            for thread in threads:
                thread.join(60)
    codes = {outcome.partition(":")[0] for outcome in outcomes}
    assert codes <= {"UNAVAILABLE"}, outcomes
    if kind == "grpcio":
        assert {outcome.partition(": ")[2] for outcome in outcomes} <= {"failed to connect to all add"}, outcomes
