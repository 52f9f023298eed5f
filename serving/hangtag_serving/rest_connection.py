"""One client's connection to the REST door: HTTP/1.1 by httptools' compiled parser."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools

from .rest_service import Answer, too_large

_WAITING_REQUESTS = 64  # pipelined on one connection before its socket is left unread
_MAX_HEADER_BYTES = 64 << 10
_LINGER_SECONDS = 2.0

_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)
_REASONS = {429: b"Client Error", 499: b"Client Error"}  # libevent's words, where it knows no others


class Front(Protocol):
    """What a connection asks of the door it belongs to."""

    max_body_bytes: int
    stopping: bool
    cors: bool

    def opened(self, connection: Connection) -> None:
        """A client has come."""

    def closed(self, connection: Connection) -> None:
        """A client has gone."""

    def take(self, connection: Connection, request: Request) -> None:
        """Answer a request by `connection.answered`, in the thread of the loop."""

    def unknown_method(self) -> Answer:
        """What a request with a method that HTTP does not have gets."""

    def date(self) -> bytes:
        """The Date header."""


class Request(NamedTuple):
    """One that has been received; the names of `headers` are lower-case."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep: bool

    @property
    def is_encoded(self) -> bool:
        """Whether the body is gzip, or claims to be something else."""
        return "content-encoding" in self.headers


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered in their order."""

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        self._front, self._loop = front, loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._busy = self._closing = False
        self._transport: Any = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._front.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._waiting.clear()
        self._front.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Answer(501, b"", "text/html"))
        except httptools.HttpParserInvalidMethodError:
            self._refuse(self._front.unknown_method())
        except httptools.HttpParserError:
            self._refuse(Answer(400, b"", "text/html"))
        if not self._closing and len(self._waiting) > _WAITING_REQUESTS:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client reads slowly: do not read more from it."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if not self._closing:
            self._transport.resume_reading()

    # ---- httptools' callbacks

    def on_message_begin(self) -> None:
        self._url, self._size, self._head_size = b"", 0, 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _MAX_HEADER_BYTES:
            self._refuse(Answer(431, b"", "text/html"))

    def on_headers_complete(self) -> None:
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._front.max_body_bytes:
            self._refuse(too_large(self._front.max_body_bytes))
        elif "expect" in self._headers and not self._closing:
            if self._headers["expect"].lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self._refuse(Answer(417, b"", "text/html"))

    def on_body(self, body: bytes) -> None:
        if self._closing:
            return
        self._size += len(body)
        if self._size > self._front.max_body_bytes:
            self._pieces.clear()
            self._refuse(too_large(self._front.max_body_bytes))
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        verb, keep = self._parser.get_method().decode("latin-1"), self._parser.should_keep_alive()
        self._waiting.append(Request(verb, self._url.decode("latin-1"), self._headers, body, keep))
        if not self._busy:
            self._next()

    # ---- answers

    def _next(self) -> None:
        if self._waiting and not self._busy and not self._closing:
            self._busy = True
            self._front.take(self, self._waiting.popleft())

    def answered(self, answer: Answer, request: Request) -> None:
        """Send an answer, and go on with the next request."""
        self._busy = False
        if not self._closing:
            self._write(answer, request.verb, request.keep)
            self._next()
            if not self._closing and len(self._waiting) <= _WAITING_REQUESTS:
                self._transport.resume_reading()

    def _write(self, answer: Answer, verb: str, keep: bool) -> None:
        keep = keep and not (self._front.stopping and not self._waiting)
        self._send(answer, verb, keep)
        if not keep:
            self._close()

    def _send(self, answer: Answer, verb: str, keep: bool) -> None:
        body = b"" if verb == "HEAD" else answer.body
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n%s%s\r\n" % (
            answer.status,
            _reason(answer.status),
            answer.content_type.encode(),
            self._front.date(),
            len(body),
            _CORS if self._front.cors else b"",
            b"" if keep else b"Connection: close\r\n",
        )
        self._transport.write(head + body)

    def _refuse(self, answer: Answer) -> None:
        """Answer at once and close; what follows on this connection is thrown away.

        For a moment it is still taken in: a connection closed with bytes unread is reset, and the client, busy
        sending, would never see the answer.
        """
        if not self._closing:
            self._waiting.clear()
            self._closing = True
            self._send(answer, "", False)
            self._transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, self._transport.close)

    def finish(self) -> None:
        """Close as soon as nothing is under way."""
        if not self._busy and not self._waiting:
            self._close()

    def cut(self) -> None:
        """Close now."""
        self._closing = True
        self._transport.abort()

    def _close(self) -> None:
        self._closing = True
        self._transport.close()


def _reason(status: int) -> bytes:
    return _REASONS.get(status) or HTTPStatus(status).phrase.encode()
