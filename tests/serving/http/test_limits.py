"""What one client may use of the HTTP server: time, connections, memory. And what a stop owes to every client."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TypeVar

import pytest

from hangtag_serving.api.rest_resources import Answer
from hangtag_serving.http import limits
from hangtag_serving.http.connection import Connection
from hangtag_serving.http.server import RestServer
from rest_stub import connect, received, rest_server, statuses
from support import eventually

ROUNDS = int(os.environ.get("HANGTAG_RESTARTS", "5"))
T = TypeVar("T")
GET = b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = GET.replace(b"Host", b"Connection: close\r\nHost")
HEAD = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_loop(server: RestServer, work: Callable[[], T]) -> T:
    """What `work` gives in the thread of the server."""

    async def done() -> T:
        return work()

    return asyncio.run_coroutine_threadsafe(done(), server.loop).result(60)


def check_times(server: RestServer, now: float) -> None:
    """What the server does every second, at this time of its clock."""
    in_loop(server, lambda: [connection.check_time(now) for connection in list(server._connections)])


@pytest.fixture
def stopped_clock(monkeypatch):
    """The server itself looks at no times: a test says what time it is."""

    async def never(_: RestServer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RestServer, "_watch", never)


def answers(port: int) -> bool:
    """Whether a client that behaves gets its answer."""
    with connect(port) as connection:
        connection.sendall(CLOSE)
        return statuses(received(connection)) == [200]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(b"", []), (GET, [200]), (b"GET / HT", [408]), (GET + b"GET / HT", [200, 408]), (HEAD % 1000 + b"[1", [408])],
    ids=["nothing", "idle", "half a head", "half a second head", "half a body"],
)
def test_a_client_that_sends_no_more_is_disconnected(sent, expected, monkeypatch):
    with rest_server() as (server, port), connect(port) as connection:
        connection.sendall(sent)
        text = connection.recv(65536) if sent.startswith(GET) else b""
        begun = [sent not in (b"", GET)]
        eventually(lambda: [one._parser.begun for one in list(server._connections)] == begun, "all of it to arrive")
        with monkeypatch.context() as short:
            for name in ("HEAD_SECONDS", "BODY_SECONDS", "IDLE_SECONDS"):
                short.setattr(limits, name, 0.1)
            assert statuses(text + received(connection)) == expected
        assert answers(port)


@pytest.mark.usefixtures("stopped_clock")
def test_a_body_may_take_as_long_as_it_goes_on():
    """Sent in six pieces, longer than the time for a body alone. If it does not go on, it has no more time."""
    with rest_server() as (server, port), connect(port) as connection, connect(port) as ends:
        ends.sendall(HEAD % 120_000)
        connection.sendall(HEAD % 120_000)
        eventually(lambda: [one._parser.begun for one in list(server._connections)] == [True] * 2, "both heads")
        begun = server.loop.time()
        for number in range(1, 7):
            connection.sendall(b" " * 20_000)
            if number < 6:
                eventually(lambda n=number: body_bytes(server) == n * 20_000, "the piece to arrive")
                check_times(server, begun + limits.HEAD_SECONDS + limits.BODY_SECONDS + number)
                assert statuses(ends.recv(65536)) == [408] if number == 1 else True
        connection.sendall(CLOSE)
        assert statuses(received(connection)) == [200, 200]


def unread(server: RestServer) -> dict[Connection, int]:
    """The two connections, and how much of the response each has not taken yet; empty until both have begun."""
    found = {one: one._transport.get_write_buffer_size() for one in server._connections if one._unread}
    return found if len(found) == 2 else {}


def body_bytes(server: RestServer) -> int:
    """Of the largest unfinished body."""
    return max((connection._parser.body_bytes for connection in list(server._connections)), default=0)


@pytest.mark.parametrize("request_bytes", [GET, CLOSE], ids=["kept", "close"])
@pytest.mark.usefixtures("stopped_clock")
def test_a_slow_reader_gets_all_of_a_response_and_one_that_reads_none_is_disconnected(request_bytes):
    """However long it takes: each time that the server looks, something has been read. Then nothing is, once."""
    answer = Answer(200, b" " * 20_000_000)
    with rest_server(lambda *_: answer) as (server, port), connect(port) as slow, connect(port) as none:
        for connection in (slow, none):
            connection.sendall(request_bytes)
        both = eventually(lambda: in_loop(server, lambda: unread(server)), "both responses")
        now, size, looks = server.loop.time(), 0, 0
        (one,) = (c for c in both if c._transport.get_extra_info("peername") == slow.getsockname())
        left = both[one]
        while size < 20_000_000:
            piece = slow.recv(1 << 20)
            assert piece, "it was disconnected"
            size += len(piece)
            if one._unread and (rest := in_loop(server, one._transport.get_write_buffer_size)) < left:
                left, now, looks = rest, now + limits.WRITE_SECONDS + 1, looks + 1
                check_times(server, now)
        assert looks > 2
        assert len(received(none)) < 20_000_000


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
        assert entered.wait(60)
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
            with suppress(ConnectionError):  # refused while it was sent
                connection.sendall(HEAD % 1_000_000 + b" " * 900_000)

        def refused() -> bool:
            for connection in select.select(large, [], [], 0)[0]:
                assert statuses(connection.recv(65536)) == [503]
                large.remove(connection)
            return len(large) <= 3

        eventually(refused, "seven to be refused")
        assert answers(port)
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
                        connection.sendall(CLOSE)
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


def test_a_stop_waits_for_what_runs_and_not_for_idle_clients():
    entered, gate = threading.Event(), threading.Event()

    def respond(*_: object) -> Answer:
        entered.set()
        gate.wait(60)
        return Answer(200, b"{}")

    with rest_server(respond) as (server, port), connect(port) as idle, connect(port) as busy:
        busy.sendall(HEAD % 2 + b"{}")
        assert entered.wait(60)
        stopping = threading.Thread(target=server.stop, args=(60.0,))
        stopping.start()
        assert received(idle) == b""
        assert stopping.is_alive()
        gate.set()
        assert statuses(received(busy)) == [200]
        stopping.join(60)
        assert not stopping.is_alive()
