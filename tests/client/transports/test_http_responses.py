"""What may arrive on an HTTP connection, and who is called when a name has several addresses."""

from __future__ import annotations

import gzip
import socket
import threading
from contextlib import suppress

import pytest
import requests

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import BadResponse, DeadlineExceeded, InvalidInput, ServerUnavailable
from raw_server import answering
from support import with_more_time


def test_an_answer_cut_within_its_body_is_server_unavailable(kind):
    """Content-Length promises more than comes."""

    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"model_version'
    with (
        answering(cut) as target,
        opened(kind, target, retries=1) as client,
        pytest.raises(ServerUnavailable, match="no answer from"),
    ):
        client.status()


def test_a_connection_that_the_server_has_closed_is_replaced(kind):
    """Each answer ends its connection without saying so; not one of the calls needs a second attempt."""
    body = b'{"model_version_status": []}'
    closed = threading.Semaphore(0)

    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with answering(whole, closed.release) as target, opened(kind, target, retries=0) as client:
        for _ in range(5):
            assert client.status() == ()
            assert closed.acquire(timeout=60)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 28\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding:\r\nContent-Length: 28\r\n\r\n",
    ],
    ids=["continue", "until the end", "no encoding, it says", "no encoding"],
)
def test_other_ways_to_frame_an_answer(kind, answer):
    with (
        answering(answer + b'{"model_version_status": []}') as target,
        opened(kind, target, retries=0) as client,
    ):
        assert client.status() == ()


NO_VERSIONS = b'{"model_version_status": []}'

FRAMES = {
    "a trillion bytes": b"Content-Length: 1000000000000\r\n\r\n{}",
    "more bytes than can be counted": b"Content-Length: 10000000000000000000000\r\n\r\n{}",
    "a chunk of a trillion bytes": b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n{}",
    "a chunk of too many to be counted": b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFFFFF\r\n{}",
    "a chunk of less than nothing": b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}",
    "a length that is no number": b"Content-Length: many\r\n\r\n{}",
    "an endless header": b"a: " + b"x" * 100_000 + b"\r\n\r\n{}",
    "too many headers": b"a: b\r\n" * 1000 + b"\r\n{}",
    "another transfer coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n" + NO_VERSIONS,
    "a zip that is cut off": b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(NO_VERSIONS)[:-4],
    "zipped, it says": b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize("transport", ["sync", "session", "async"])
def test_frames_that_cannot_be_right_are_typed_errors(transport, frame):
    with requests.Session() as session, answering(b"HTTP/1.1 200 OK\r\n" + frame) as target:
        options = {"session": session} if transport == "session" else {}
        with (
            opened("async" if transport == "async" else "sync", target, retries=0, **options) as client,
            pytest.raises((BadResponse, ServerUnavailable), match=r"answer|response") as caught,
        ):
            client.status()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("line", [b"\r\n", b"HTTP/2.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
@pytest.mark.parametrize("transport", ["sync", "async"])
def test_why_there_is_no_answer_is_said_in_words(transport, line):
    """Whatever the libraries' own messages are: empty, or the fields of an object."""
    with (
        answering(line) as target,
        opened(transport, target, retries=0) as client,
        pytest.raises(ServerUnavailable, match=r": (Bad status line, '.*|the answer broke off)"),
    ):
        client.status()


def test_a_zipped_answer_is_not_asked_for():
    """A caller who can read one sets the header."""
    for headers, sent in (({}, "identity"), ({"accept-encoding": "br"}, "br")):
        model = Model(FIRST_PIXEL)
        with model_server(model, "rest") as target, opened("sync", target, headers=headers) as client:
            client.metadata()
        assert model.requests[0]["accept-encoding"] == sent


@pytest.fixture
def silent() -> tuple[str, int]:
    """An address that takes no connection and refuses none: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        with suppress(TimeoutError):
            while True:
                waiting.append(socket.create_connection(listener.getsockname(), 0.1))
        yield listener.getsockname()
        for connection in waiting:
            connection.close()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(kind, silent, monkeypatch):
    with model_server(Model(FIRST_PIXEL), "rest") as target:
        alive = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        addresses = [silent, alive]
        kinds = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*kinds, address) for address in addresses])

        def answered(timeout: float) -> bool:
            """Whether the time left for the second address was enough for it."""
            with opened(kind, "http://localhost:1", timeout=timeout, retries=0) as client, suppress(DeadlineExceeded):
                return client.metadata().version == 1
            return False

        with_more_time(answered, 3)
        addresses[:] = [silent, silent]
        with opened(kind, "http://localhost:1", timeout=0.5, retries=0) as client, pytest.raises(DeadlineExceeded):
            client.metadata()


@pytest.mark.parametrize("transport", ["sync", "session", "async"])
@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_name_that_no_host_can_have(transport, host):
    with requests.Session() as session:
        options = {"session": session} if transport == "session" else {}
        with (
            opened("async" if transport == "async" else "sync", f"http://{host}:1", retries=0, **options) as client,
            pytest.raises(InvalidInput, match=host),
        ):
            client.status()
