"""Requests whose end can be read in two ways: refused, and what follows them is never taken for a request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rest_stub import connect, received, rest_server, statuses

BODY = b'{"instances": [1, 2, 3]}'
LENGTH = b"%d" % len(BODY)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
FOLLOWING = b"GET /following HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
REFUSED, BOTH = "refused", "both"


def post(framing: bytes, body: bytes = BODY) -> bytes:
    return b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n" + body


def chunks(text: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", text)


CASES: dict[str, tuple[bytes, str]] = {
    "length, then chunked": (post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKED), REFUSED),
    "chunked, then length": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", CHUNKED), REFUSED),
    "unknown coding": (post(b"Transfer-Encoding: xchunked\r\n", CHUNKED), REFUSED),
    "chunked is not last": (post(b"Transfer-Encoding: chunked, identity\r\n", CHUNKED), REFUSED),
    "chunked, then identity": (
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
        REFUSED,
    ),
    "blank before the colon": (post(b"Transfer-Encoding : chunked\r\n", CHUNKED), REFUSED),
    "vertical tab": (post(b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED), REFUSED),
    "tab": (post(b"Transfer-Encoding:\tchunked\r\n", CHUNKED), BOTH),
    "two lengths": (post(b"Content-Length: %s\r\nContent-Length: 4\r\n" % LENGTH), REFUSED),
    "list of lengths": (post(b"Content-Length: %s, %s\r\n" % (LENGTH, LENGTH)), REFUSED),
    "plus": (post(b"Content-Length: +%s\r\n" % LENGTH), REFUSED),
    "negative": (post(b"Content-Length: -1\r\n"), REFUSED),
    "hexadecimal": (post(b"Content-Length: 0x10\r\n"), REFUSED),
    "underscore": (post(b"Content-Length: 1_0\r\n"), REFUSED),
    "no digits": (post(b"Content-Length: \r\n"), REFUSED),
    "Arabic digits": (post("Content-Length: ٣\r\n".encode()), REFUSED),
    "over 64 bits": (post(b"Content-Length: %d\r\n" % (2**64 + len(BODY))), REFUSED),
    "over the limit": (post(b"Content-Length: 99999999999\r\n"), REFUSED),
    "bare line feeds": (post(b"Content-Length: %s\r\n" % LENGTH).replace(b"\r\n", b"\n", 3), REFUSED),
    "bare carriage return": (post(b"Content-Length: %s\r\nX: a\rb\r\n" % LENGTH), REFUSED),
    "line feed in a value": (
        post(b"Content-Length: %s\r\nX: a\nTransfer-Encoding: chunked\r\n" % LENGTH),
        REFUSED,
    ),
    "NUL": (post(b"Content-Length: %s\r\nX: a\0b\r\n" % LENGTH), REFUSED),
    "no colon": (post(b"Content-Length: %s\r\nXab\r\n" % LENGTH), REFUSED),
    "chunk extension": (chunks(b'%x;a=b;c="d"\r\n%s\r\n0\r\n\r\n' % (len(BODY), BODY)), BOTH),
    "line feed in an extension": (chunks(b"%x;a\nb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)), REFUSED),
    "0x before a chunk's size": (chunks(b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)), REFUSED),
    "a chunk's size over 64 bits": (chunks(b"1%016x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)), REFUSED),
    "bare line feed after a chunk's size": (chunks(b"%x\n%s\n0\n\n" % (len(BODY), BODY)), REFUSED),
    "a chunk longer than its size": (chunks(b"%x\r\n%sZZ\r\n0\r\n\r\n" % (len(BODY), BODY)), REFUSED),
    "two hosts": (post(b"Host: y\r\nContent-Length: %s\r\n" % LENGTH), REFUSED),
    "HTTP/0.9": (b"GET /v1/models/m\r\n\r\n", REFUSED),
    "HTTP/2.0": (b"GET /v1/models/m HTTP/2.0\r\n\r\n", REFUSED),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED),
    "upgrade": (post(b"Content-Length: %s\r\n%s" % (LENGTH, UPGRADE)), BOTH),
    "upgrade, chunked": (post(b"Transfer-Encoding: chunked\r\n" + UPGRADE, CHUNKED), BOTH),
    "upgrade, length and chunked": (
        post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n" + UPGRADE, CHUNKED),
        REFUSED,
    ),
    "upgrade, two lengths": (post(b"Content-Length: %s\r\nContent-Length: 4\r\n%s" % (LENGTH, UPGRADE)), REFUSED),
    "a GET inside a GET's body": (
        b"GET /v1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(FOLLOWING), FOLLOWING),
        BOTH,
    ),
    "20,000 headers": (b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: \r\n" % n for n in range(20000)) + b"\r\n", REFUSED),
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with rest_server() as (_, port):
        yield port


@pytest.mark.parametrize(("request_bytes", "expected"), CASES.values(), ids=CASES)
def test_a_request_is_read_in_one_way(port, request_bytes, expected):
    with connect(port) as connection:
        connection.sendall(request_bytes + FOLLOWING)
        text = received(connection)
    if expected == BOTH:
        assert statuses(text) == [200, 200], text
        assert text.count(b"/following") == 1
    else:
        (status,) = statuses(text)
        assert 400 <= status < 600
        assert b"/following" not in text


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n" + UPGRADE,
        b"Transfer-Encoding:\r\n chunked\r\n",
    ],
)
def test_codings_in_two_lines_are_refused_or_read_as_one_list(port, framing):
    with connect(port) as connection:
        connection.sendall(post(framing, CHUNKED) + FOLLOWING)
        text = received(connection)
    assert statuses(text) == [200, 200] or (len(statuses(text)) == 1 and statuses(text)[0] >= 400), text


def test_a_trace_is_not_echoed(port):
    with connect(port) as connection:
        connection.sendall(b"TRACE / HTTP/1.1\r\nHost: x\r\nX-Secret: y\r\nConnection: close\r\n\r\n")
        assert b"X-Secret" not in received(connection)
