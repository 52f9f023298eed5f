"""One client's connection to the REST door: the order of its answers, and how far ahead of them it is read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from ..api.rest_resources import Answer
from .parser import Request, RequestReader

# Pipelined on one connection, before its socket is left unread:
_WAITING_REQUESTS = 64
_WAITING_BYTES = 4 << 20  # of bodies, while a request before them is being answered
_AT_A_TIME = 8  # requests, before other connections have their turn
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


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered in their order, one at a time."""

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        self._front, self._loop = front, loop
        self._reader = RequestReader(self, front.max_body_bytes, front.unknown_method)
        self._waiting: deque[Request] = deque()
        self._waiting_bytes = 0
        self._busy = False  # a request is being answered
        self._taking = False  # `_next` is under way, or soon will be
        self._afterwards: Callable[[], None] | None = None  # once what came before has been answered
        self._unread = False  # by the client, which leaves answers lying
        self._paused = self._closing = False
        self._transport: Any = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._front.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._waiting.clear()
        self._reader.end()
        self._front.closed(self)

    def data_received(self, data: bytes) -> None:
        if not self._closing:
            self._reader.feed(data)
            self._next()
            self._regulate()

    def pause_writing(self) -> None:
        """The client reads slowly: neither answer nor read more until it has caught up."""
        self._unread = True
        self._regulate()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unread = False
        self._next()
        self._regulate()

    def _regulate(self) -> None:
        """Read on, or leave the socket unread, so that a client that is far ahead has to wait."""
        pause = (
            self._unread
            or self._afterwards is not None
            or len(self._waiting) > _WAITING_REQUESTS
            or (self._waiting_bytes + self._reader.size > _WAITING_BYTES and (self._busy or bool(self._waiting)))
        )
        if pause != self._paused and not self._closing:
            self._paused = pause
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    # ---- for the reader

    def received(self, request: Request) -> None:
        """Keep it until its turn has come."""
        self._waiting.append(request)
        self._waiting_bytes += len(request.body)
        self._afterwards = None  # who has sent the body needs no more to be told to

    def asked(self) -> None:
        """Tell the client to send the body."""
        self._afterwards = partial(self._transport.write, b"HTTP/1.1 100 Continue\r\n\r\n")

    def refused(self, answer: Answer) -> None:
        """Make this the connection's last answer."""
        self._afterwards = partial(self._refuse, answer)

    # ---- answers

    def _next(self) -> None:
        """Have waiting requests answered.

        A loop, for an answer may come before `take` returns; and a short one, for thousands may come at once.
        """
        if self._taking:
            return
        self._taking, left = True, _AT_A_TIME
        while self._waiting and not (self._busy or self._unread or self._closing):
            if not left:
                self._loop.call_soon(self._go_on)
                return
            left -= 1
            request = self._waiting.popleft()
            self._waiting_bytes -= len(request.body)
            self._busy = True
            self._front.take(self, request)
        self._taking = False
        if self._afterwards is not None and not (self._waiting or self._busy or self._closing):
            afterwards, self._afterwards = self._afterwards, None
            afterwards()

    def _go_on(self) -> None:
        self._taking = False
        self._next()
        self._regulate()

    def answered(self, answer: Answer, request: Request) -> None:
        """Send an answer, and go on with the next request."""
        self._busy = False
        if self._closing:
            return
        reader = self._reader
        if request.keep and not (self._front.stopping and not (self._waiting or reader.begun or self._afterwards)):
            self._send(answer, request.verb, b"Connection: keep-alive\r\n" if request.confirm else b"")
            self._next()
            if self._paused:
                self._regulate()
        else:
            self._send(answer, request.verb, b"Connection: close\r\n")
            self._close()

    def _send(self, answer: Answer, verb: str, connection: bytes) -> None:
        body = b"" if verb == "HEAD" else answer.body
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n%s%s\r\n" % (
            answer.status,
            _reason(answer.status),
            answer.content_type.encode(),
            self._front.date(),
            len(body),
            _CORS if self._front.cors else b"",
            connection,
        )
        self._transport.write(head + body)

    def _refuse(self, answer: Answer) -> None:
        """Answer and close; what follows on this connection is thrown away.

        For a moment it is still taken in: a connection closed with bytes unread is reset, and the client, busy
        sending, would never see the answer.
        """
        self._send(answer, "", b"Connection: close\r\n")
        self._closing = True
        if self._paused:
            self._transport.resume_reading()
        self._transport.write_eof()
        self._loop.call_later(_LINGER_SECONDS, self._transport.close)

    def finish(self) -> None:
        """Close as soon as nothing is under way."""
        if self._closing or not (self._busy or self._waiting or self._reader.begun):
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
