"""One HTTP connection: many requests on it, answered in order; clients that read late, send much, or send late."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from support import PATIENCE, Server, eventually, serving

MODELS = Path(__file__).parents[1] / "conformance" / "models"
BODY = json.dumps({"instances": np.full((1, 28, 28), 7, np.uint8).tolist()}).encode()
CLOSE = b"Connection: close\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


def connect(server: Server) -> socket.socket:
    host, port = server.rest.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 60)


def predict(body: bytes = BODY, headers: bytes = b"", framing: bytes = b"Content-Length: %d\r\n") -> bytes:
    framing = framing % len(body) if b"%d" in framing else framing
    return b"POST /v1/models/fashion:predict HTTP/1.1\r\n" + framing + headers + b"\r\n" + body


def status(headers: bytes = b"", model: bytes = b"fashion", http: bytes = b"1.1") -> bytes:
    return b"GET /v1/models/%s HTTP/%s\r\n%s\r\n" % (model, http, headers)


def answers(connection: socket.socket) -> Iterator[tuple[int, bytes, bytes]]:
    """Status, headers and body of each answer, until the server closes. It resets what is sent to it long after."""
    with connection.makefile("rb") as file, suppress(ConnectionResetError):
        while first := file.readline():
            head = first + b"".join(iter(file.readline, b"\r\n"))
            size = int(re.search(rb"Content-Length: (\d+)", head).group(1))
            yield int(head.split()[1]), head, file.read(size)


def statuses(server: Server, request: bytes) -> list[int]:
    """Those of all answers to what is sent at once, on a connection of its own that the server closes."""
    with connect(server) as connection:
        connection.sendall(request)
        return [code for code, _, _ in answers(connection)]


@contextmanager
def sending(connection: socket.socket, data: bytes) -> Iterator[None]:
    """Send in a thread, which ends with the block even if the server has not read everything."""

    def send() -> None:
        with suppress(OSError):
            connection.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def stop_for_now(server: Server) -> None:
    """SIGSTOP, and wait until all threads have stopped."""
    server.process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{server.process.pid}/task")

    def states() -> set[str]:
        found = set()
        for task in tasks.iterdir():
            with suppress(OSError):  # it has just ended
                found.add((task / "stat").read_text().rpartition(")")[2].split()[0])
        return found

    eventually(lambda: states() == {"T"}, "all threads to stop")


def resident_bytes(server: Server) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (predict(), b"HELLO / HTTP/1.1\r\n\r\n", [200, 501]),
        (predict(), b"GET / NOT-HTTP\r\n\r\n", [200, 400]),
        (predict(), predict(b"", framing=b"Content-Length: 999999999999\r\n"), [200, 413]),
        (predict(), predict(headers=b"Expect: miracles\r\n"), [200, 417]),
        (predict(), status(b"X: " + b"x" * 70_000 + b"\r\n"), [200, 431]),
        (predict() + status() + predict(), b"CONNECT a:1 HTTP/1.1\r\n\r\n", [200, 200, 200, 501]),
        (predict(headers=CLOSE), b"x", [200]),
        (predict(headers=CLOSE), predict(headers=CLOSE), [200]),
    ],
    ids=["no method", "no HTTP", "large", "Expect", "large header", "CONNECT", "stray byte", "after the last"],
)
def test_a_refusal_comes_after_the_answers_before_it(recorded, first, second, expected):
    assert statuses(recorded, first + second) == expected


def test_thousands_of_requests_at_once_are_all_answered_in_order(recorded):
    """Behind a slow one. Most are answered at once, each from within the answer before it."""
    models = [b"fashion", b"nobody", b"types"]
    requests = [status(model=models[n % 3]) for n in range(6000)]
    sent = b"".join([predict(), *requests, predict(headers=CLOSE)])
    with connect(recorded) as connection, sending(connection, sent):
        codes = [code for code, _, _ in answers(connection)]
    assert codes == [200, *([200, 404, 200] * 2000), 200]


def test_a_connection_with_many_requests_does_not_delay_others(careful):
    """The access log shows the order of the answers; both have sent while the server was stopped."""
    total = 1500
    with connect(careful) as many, connect(careful) as one:
        for connection in (many, one):
            connection.sendall(status())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        seen = len(careful.log_text())
        stop_for_now(careful)
        many.sendall(status(model=b"many") * total + status(CLOSE))
        one.sendall(status(model=b"one") + status(CLOSE))
        careful.process.send_signal(signal.SIGCONT)
        assert [code for code, _, _ in answers(one)][-2:] == [404, 200]
        assert [code for code, _, _ in answers(many)][-2:] == [404, 200]

    def names() -> list[str]:
        return re.findall(r'"model": ?"(one|many)"', careful.log_text()[seen:])

    eventually(lambda: names().count("many") == total, "all lines of the log")
    assert names().index("one") < total


@pytest.mark.parametrize("headers", [H2C, H2C + CLOSE, CLOSE + H2C], ids=["h2c", "h2c, close", "close, h2c"])
@pytest.mark.parametrize("framing", [b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_request_to_upgrade_to_http2_is_answered_in_http1(recorded, framing, headers):
    """As by libevent. Java's HttpClient and `curl --http2` send the body along with it."""
    body = BODY if b"%d" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    request = predict(body, headers, framing)
    following = b"" if CLOSE in headers else status(H2C) * 3000 + predict(headers=CLOSE)
    with connect(recorded) as connection:
        for part in (request[:100], request[100:-50], request[-50:] + following):
            connection.sendall(part)
        codes, _, bodies = zip(*answers(connection), strict=True)
    assert codes == ((200,) * 3002 if following else (200,))
    assert len(json.loads(bodies[0])["predictions"]) == 1


def test_a_client_that_does_not_read_is_not_read_from(recorded):
    """Its answers, a megabyte each, are made when it reads them. Another client gets as many at the same time."""
    body = b'{"signature_name": "string", "instances": ["%s"]}' % (b"x" * 1_000_000)
    echo = b"POST /v1/models/types:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    total = 120
    sent = echo * total + status(CLOSE)
    before = resident_bytes(recorded)
    with connect(recorded) as idle, connect(recorded) as busy, sending(idle, sent), sending(busy, sent):
        assert [code for code, _, _ in answers(busy)] == [200] * (total + 1)
        assert resident_bytes(recorded) - before < len(sent) / 2
        assert [code for code, _, _ in answers(idle)] == [200] * (total + 1)


def test_large_bodies_are_not_read_ahead(tmp_path):
    """While a request before them waits for another that fills its batch."""
    (tmp_path / "parameters").write_text("max_batch_size { value: 31 } batch_timeout_micros { value: 3600000000 }")
    flags = ["--enable_batching", f"--batching_parameters_file={tmp_path / 'parameters'}"]
    first = predict(json.dumps({"instances": np.zeros((30, 28, 28), int).tolist()}).encode())
    large = b"POST /nowhere HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n" + b" " * 30_000_000
    unsent = memoryview(first + large * 6 + status(CLOSE))
    with serving(MODELS / "fashion", tmp_path / "log", *flags) as server, connect(server) as connection:
        before = resident_bytes(server)
        while select.select([], [connection], [], 1)[1]:  # as long as the server, or its system, takes any
            unsent = unsent[connection.send(unsent[: 1 << 20], socket.MSG_DONTWAIT) :]
            assert len(unsent) > 3 * 30_000_000, "it is read ahead"
        assert resident_bytes(server) - before < 6 * 30_000_000 / 2
        with sending(connection, bytes(unsent)):
            assert statuses(server, predict(headers=CLOSE)) == [200]
            assert [code for code, _, _ in answers(connection)] == [200, *([404] * 6), 200]


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX",
        b"GET / HTTP/1.1\r\nX: ",
        predict(b"", framing=b"Transfer-Encoding: chunked\r\n") + b"0\r\nX: ",
    ],
    ids=["path", "name", "value", "trailer"],
)
def test_a_head_without_an_end_is_refused_soon(recorded, beginning):
    before, piece = resident_bytes(recorded), b"x" * 1_000_000
    with connect(recorded) as connection:
        connection.sendall(beginning)
        pieces = 0
        with suppress(ConnectionError):  # the server has closed it while this was being sent
            while not select.select([connection], [], [], 0)[0]:
                assert pieces < 100
                connection.sendall(piece)
                pieces += 1
        assert resident_bytes(recorded) - before < 30_000_000
        assert connection.recv(12) == b"HTTP/1.1 431"


def test_a_trailer_does_not_change_the_request(recorded):
    chunks = b"%x\r\n%s\r\n0\r\nContent-Encoding: gzip\r\n\r\n" % (len(BODY), BODY)
    assert statuses(recorded, predict(chunks, CLOSE, b"Transfer-Encoding: chunked\r\n")) == [200]


def test_http_1_0_gets_a_header_that_confirms_a_kept_connection(recorded):
    keep = b"Connection: keep-alive\r\n"
    with connect(recorded) as connection:
        connection.sendall(status(keep, http=b"1.0") + status(keep) + status() + status(http=b"1.0"))
        heads = [head for _, head, _ in answers(connection)]
    assert [re.findall(rb"Connection: (\S+)", head) for head in heads] == [[b"keep-alive"], [], [], [b"close"]]


def test_100_continue_is_sent_when_the_turn_of_its_request_has_come(recorded):
    """And not to a client that has sent the body without it."""
    waits = b"Expect: 100-continue\r\n"
    with connect(recorded) as connection:
        connection.sendall(predict() + predict(headers=waits) + predict(headers=waits)[: -len(BODY)])
        with connection.makefile("rb") as file:
            for _ in range(2):
                head = b"".join(iter(file.readline, b"\r\n"))
                assert head.startswith(b"HTTP/1.1 200 ")
                file.read(int(re.search(rb"Content-Length: (\d+)", head).group(1)))
            assert file.readline() + file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(BODY)
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_request_that_has_begun_before_sigterm_is_answered(tmp_path):
    """An idle connection is closed."""
    with serving(MODELS / "fashion", tmp_path / "log") as server, connect(server) as idle, connect(server) as begun:
        idle.sendall(status())
        assert idle.recv(12) == b"HTTP/1.1 200"
        begun.sendall(predict(headers=b"Expect: 100-continue\r\n")[: -len(BODY)])
        assert begun.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"  # so its head has been read
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(server), "the server to stop")
        while idle.recv(4096):
            pass
        begun.sendall(BODY)
        [(code, head, _)] = answers(begun)
        assert (code, b"Connection: close\r\n" in head) == (200, True)
        assert server.process.wait(PATIENCE) == 0


def refused(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # by the kernel, before the server could accept it
        return False
    return False
