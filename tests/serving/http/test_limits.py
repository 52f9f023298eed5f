"""What one client may use of the HTTP server: time, connections, memory. And what a stop owes to every client."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from hangtag_serving.api.rest_resources import Answer
from hangtag_serving.http import limits
from rest_stub import connect, received, rest_server, statuses
from support import eventually

ROUNDS = int(os.environ.get("HANGTAG_RESTARTS", "5"))
GET = b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def short(monkeypatch):
    """Times that a test can wait for."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "IDLE_SECONDS", "WRITE_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(limits, name, 0.5)


def answers(port: int) -> bool:
    """Whether a client that behaves gets its answer."""
    with connect(port) as connection:
        connection.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
        return statuses(received(connection)) == [200]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(b"", []), (GET, [200]), (b"GET / HT", [408]), (GET + b"GET / HT", [200, 408]), (HEAD % 1000 + b"[1", [408])],
    ids=["nothing", "idle", "half a head", "half a second head", "half a body"],
)
@pytest.mark.usefixtures("short")
def test_a_client_that_sends_no_more_is_disconnected(sent, expected):
    with rest_server() as (_, port), connect(port) as connection:
        connection.sendall(sent)
        assert statuses(received(connection)) == expected
        assert answers(port)


def test_a_body_may_take_as_long_as_it_goes_on(monkeypatch):
    """Sent in six pieces, longer than the time for a body alone."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(limits, name, 0.5)
    with rest_server() as (_, port), connect(port) as connection:
        connection.sendall(HEAD % 120_000)
        for _ in range(6):
            connection.sendall(b" " * 20_000)
            time.sleep(0.25)
        connection.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert statuses(received(connection)) == [200, 200]


@pytest.mark.usefixtures("short")
def test_a_client_that_reads_no_response_is_disconnected():
    with rest_server(lambda *_: Answer(200, b" " * 50_000_000)) as (server, port), connect(port) as connection:
        connection.sendall(GET)
        eventually(lambda: not server._connections, "the connection to be given up")


def test_a_slow_reader_gets_all_of_a_response(monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 1.0)
    with rest_server(lambda *_: Answer(200, b" " * 20_000_000)) as (_, port), connect(port) as connection:
        connection.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
        size = 0
        while piece := connection.recv(1 << 20):
            size += len(piece)
            time.sleep(0.02)
        assert size > 20_000_000


def test_a_new_client_takes_the_place_of_the_one_idle_longest(monkeypatch):
    """Not of one that waits for its answer, however long ago it asked."""
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 10)
    entered, gate = threading.Event(), threading.Event()

    def respond(verb: str, *_: object) -> Answer:
        if verb == "POST":
            entered.set()
            gate.wait(60)
        return Answer(200, b"{}")

    with rest_server(respond) as (_, port), ExitStack() as stack:
        busy = stack.enter_context(connect(port))
        busy.sendall(HEAD % 2 + b"{}")
        entered.wait(60)
        idle = [stack.enter_context(connect(port)) for _ in range(30)]
        assert answers(port)
        assert received(idle[0]) in (b"", b"<reset>")
        gate.set()
        assert busy.recv(65536).startswith(b"HTTP/1.1 200")


def test_all_unfinished_bodies_together_are_bounded():
    """Ten bodies of nearly the largest size, of which two may be held: the largest are refused, small ones are not."""
    with rest_server(max_body_bytes=1_000_000) as (server, port), ExitStack() as stack:
        large = [stack.enter_context(connect(port)) for _ in range(10)]
        for connection in large:
            connection.sendall(HEAD % 1_000_000 + b" " * 900_000)
        refused = 0
        for connection in large:
            connection.settimeout(0.5)
            try:
                refused += statuses(connection.recv(65536)) == [503]
            except TimeoutError:
                assert answers(port)
        assert refused >= 7
        eventually(lambda: server._held_bytes <= limits.HELD_BODIES * 1_000_000 + 100_000, "few bytes to be held")
    eventually(lambda: server._held_bytes == 0, "no bytes to be held for clients that have gone")


def test_a_body_of_tiny_chunks_counts_for_what_it_takes():
    with rest_server(max_body_bytes=100_000) as (_, port), connect(port) as connection:
        connection.sendall(CHUNKED + b"1\r\n \r\n" * 10_000)
        assert statuses(connection.recv(65536)) == [503]
        assert answers(port)


def test_bytes_are_given_back_with_each_answer():
    with rest_server() as (server, port), connect(port) as connection:
        for _ in range(3):
            connection.sendall(HEAD % 50_000 + b" " * 50_000)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        eventually(lambda: server._held_bytes == 0, "nothing to be held")


@pytest.mark.parametrize("request_bytes", [GET, HEAD % 2 + b"{}", HEAD % 90_000 + b" " * 90_000, GET * 3])
def test_a_client_that_closes_its_half_still_gets_its_answers(request_bytes):
    with rest_server() as (_, port), connect(port) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        expected = 3 if request_bytes == GET * 3 else 1
        assert statuses(received(connection)) == [200] * expected


def test_no_request_is_lost_when_the_server_stops():
    """Servers are stopped while eight clients call them, on connections that they keep and on new ones."""
    for _ in range(ROUNDS):
        lost: list[object] = []
        counts = [0] * 8
        with rest_server() as (server, port):

            def keep_one(place: int, port: int = port, lost: list[object] = lost, counts: list[int] = counts) -> None:
                try:
                    connection = connect(port)
                except OSError:
                    return
                with connection:
                    while True:
                        connection.sendall(HEAD % 2 + b"{}")
                        text = connection.recv(65536)
                        if not text.startswith(b"HTTP/1.1 200"):
                            lost.append(text)
                            return
                        counts[place] += 1
                        if b"Connection: close" in text:
                            return

            def open_many(place: int, port: int = port, lost: list[object] = lost, counts: list[int] = counts) -> None:
                while True:
                    try:
                        connection = connect(port)
                    except ConnectionRefusedError:
                        return
                    except ConnectionResetError:  # by the kernel, before the server could accept it
                        return
                    with connection:
                        connection.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
                        text = received(connection)
                        if statuses(text) != [200]:
                            lost.append(text)
                            return
                        counts[place] += 1

            clients = [
                threading.Thread(target=keep_one if place % 2 else open_many, args=(place,)) for place in range(8)
            ]
            for client in clients:
                client.start()
            eventually(lambda counts=counts: all(counts), "every client to be answered")
            server.stop(10.0)
            for client in clients:
                client.join(60)
        assert not lost


@pytest.mark.usefixtures("short")
def test_a_stop_waits_for_what_runs_and_not_for_idle_clients():
    entered, gate = threading.Event(), threading.Event()

    def respond(*_: object) -> Answer:
        entered.set()
        gate.wait(60)
        return Answer(200, b"{}")

    with rest_server(respond) as (server, port), connect(port) as idle, connect(port) as busy:
        busy.sendall(HEAD % 2 + b"{}")
        entered.wait(60)
        stopping = threading.Thread(target=server.stop, args=(60.0,))
        stopping.start()
        assert received(idle) == b""
        assert stopping.is_alive()
        gate.set()
        assert statuses(received(busy)) == [200]
        stopping.join(60)
        assert not stopping.is_alive()
