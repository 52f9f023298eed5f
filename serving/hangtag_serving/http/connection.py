"""One client's connection: the order of its responses, how far ahead of them it is read, and how long it may take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..api.rest_resources import Answer
from . import limits
from .parser import Request, RequestParser

if TYPE_CHECKING:
    from .server import RestServer

_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_REASONS |= {429: b"Client Error", 499: b"Client Error"}  # libevent's, where it has no others


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered in their order, one at a time."""

    def __init__(self, server: RestServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._parser = RequestParser(self, server.max_body_bytes, server.unknown_method)
        self._waiting: deque[Request] = deque()
        self._waiting_bytes = 0
        self._busy = 0  # bytes held by the request that is being answered; 0 if there is none
        self._taking = False  # `_next` is running, or soon will
        self._afterwards: Callable[[], None] | None = None  # to be done once all earlier requests are answered
        self._unread = 0  # bytes of responses when the client was last seen to read some
        self._paused = self._closing = self._half_closed = False
        self._since = loop.time()  # the beginning of what the connection is doing now
        self._transport: Any = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._forget()  # but for the request that is being answered: its body is held until then
        self._server.closed(self)

    def eof_received(self) -> bool:
        """A client may close its half after a request and still read the response (RFC 9112, 9.6)."""
        self._half_closed = True
        return not self._closing and bool(self._busy or self._waiting)

    def data_received(self, data: bytes) -> None:
        if not self._closing:
            self._parser.feed(data)
            self._next()
            self._regulate()

    def pause_writing(self) -> None:
        """The client reads slowly: neither answer nor read more until it has caught up."""
        self._unread = max(1, self._transport.get_write_buffer_size())
        self._since = self._loop.time()
        self._regulate()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unread = 0
        self._since = self._loop.time()
        self._next()
        self._regulate()

    def _regulate(self) -> None:
        """Read on, or leave the socket unread, so that a client that is far ahead has to wait."""
        pause = (
            bool(self._unread)
            or self._afterwards is not None
            or len(self._waiting) > limits.WAITING_REQUESTS
            or (
                self._waiting_bytes + self._parser.body_bytes > limits.WAITING_BYTES
                and (bool(self._busy) or bool(self._waiting))
            )
        )
        if pause != self._paused and not self._closing:
            self._paused = pause
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    # ---- for the parser

    def begun(self) -> None:
        """A request has begun to arrive."""
        self._since = self._loop.time()

    def body_grew(self, size: int) -> None:
        """So many bytes of a body have arrived."""
        self._server.holds(size)

    def received(self, request: Request) -> None:
        """Keep it until its turn has come."""
        self._waiting.append(request)
        self._waiting_bytes += request.held
        self._afterwards = None  # a client that has sent the body need not be asked for it any more
        self._server.used(self)

    def continue_expected(self) -> None:
        """Ask the client to send the body."""
        self._afterwards = partial(self._transport.write, b"HTTP/1.1 100 Continue\r\n\r\n")

    def refused(self, answer: Answer) -> None:
        """Make this the connection's last response."""
        self._afterwards = partial(self._refuse, answer)

    # ---- answers

    def _next(self) -> None:
        """Have waiting requests answered.

        A loop, because an answer may come before `take` returns; and a short one, because thousands may come at once.
        """
        if self._taking:
            return
        self._taking, left = True, limits.REQUESTS_AT_A_TIME
        while self._waiting and not (self._busy or self._unread or self._closing):
            if not left:
                self._loop.call_soon(self._go_on)
                return
            left -= 1
            request = self._waiting.popleft()
            self._waiting_bytes -= request.held
            self._busy = request.held + limits.REQUEST_OVERHEAD
            self._server.holds(limits.REQUEST_OVERHEAD)
            self._server.take(self, request)
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
        self._server.holds(-self._busy)
        self._busy = 0
        if self._closing:
            return
        more = self._waiting or (not self._half_closed and (self._parser.begun or self._afterwards))
        if request.keep and (more or not (self._half_closed or self._server.stopping)):
            self._since = self._loop.time()
            self._send(answer, request.verb, b"Connection: keep-alive\r\n" if request.confirm else b"")
            self._next()
            if self._paused:
                self._regulate()
        else:
            self._send(answer, request.verb, b"Connection: close\r\n")
            self._close_after_last()

    def _send(self, answer: Answer, verb: str, connection: bytes) -> None:
        body = b"" if verb == "HEAD" else answer.body
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n%s%s\r\n" % (
            answer.status,
            _REASONS[answer.status],
            answer.content_type.encode(),
            self._server.date(),
            len(body),
            _CORS if self._server.cors else b"",
            connection,
        )
        self._transport.write(head + body)

    def _refuse(self, answer: Answer) -> None:
        self._send(answer, "", b"Connection: close\r\n")
        self._close_after_last()

    # ---- the end

    def _close_after_last(self) -> None:
        """Close once the last response has left; anything that the client still sends is discarded.

        For a moment it is still read: a connection closed with bytes unread is reset, and the client, busy sending,
        would never see the response.
        """
        self._closing = True
        self._forget()
        if self._half_closed:
            self._transport.close()
            return
        if self._paused:
            self._transport.resume_reading()
        self._transport.write_eof()
        self._since = self._loop.time()

    def _forget(self) -> None:
        self._server.holds(-self._waiting_bytes - self._parser.end())
        self._waiting.clear()
        self._waiting_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits for it."""
        return not (self._busy or self._waiting)

    @property
    def unfinished_bytes(self) -> int:
        """Of the body that is arriving."""
        return self._parser.held_bytes

    def check_time(self, now: float) -> None:
        """Close the connection if its client takes too long. Called now and then, by the loop's clock."""
        seconds = now - self._since
        if self._unread:
            unread = self._transport.get_write_buffer_size()
            if unread < self._unread:
                self._unread, self._since = max(1, unread), now
            elif seconds > limits.WRITE_SECONDS:
                self.abort()
        elif self._closing:
            if seconds > limits.LINGER_SECONDS and not self._transport.get_write_buffer_size():
                self._transport.abort()
            elif seconds > limits.WRITE_SECONDS:
                self.abort()
        elif self.is_idle:
            if self._parser.begun:
                if seconds > self._parser.allowed_seconds:
                    self.refuse_unfinished(Answer(408, b"", "text/html"))
            elif seconds > (limits.QUIET_SECONDS if self._server.stopping else limits.IDLE_SECONDS):
                self._transport.close()
        else:
            self._since = now if self._parser.begun else self._since  # a body is not read while others are answered

    def refuse_unfinished(self, answer: Answer) -> None:
        """Do not wait for the rest of the request that is arriving."""
        self._parser.refuse(answer)
        self._next()
        self._regulate()

    def abort(self) -> None:
        """Close now."""
        self._closing = True
        self._transport.abort()
