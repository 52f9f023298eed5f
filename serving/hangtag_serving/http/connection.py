"""One client's connection: the order of its responses, limits on reading ahead, and timeouts."""

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
_REASONS |= {429: b"Client Error", 499: b"Client Error"}  # libevent's


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered in their order, one at a time."""

    def __init__(self, server: RestServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._parser = RequestParser(self, server.max_body_bytes, server.unknown_method)
        self._waiting: deque[Request] = deque()
        self._waiting_bytes = 0
        self._busy = 0  # bytes held by the request that is being answered; 0 if there is none
        self._taking = False  # `_next` is running or scheduled
        self._afterwards: Callable[[], None] | None = None  # called after all earlier requests are answered
        self._unread = 0  # bytes of responses that wait to be sent, when some were last sent
        self._paused = self._closing = self._half_closed = False
        self._since = loop.time()  # when the current activity began
        self._transport: Any = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._forget()  # except the body of the request that is being answered
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
        """Stop answering and reading, because the client reads its responses too slowly."""
        self._unread = max(1, self._transport.get_write_buffer_size())
        self._since = self._loop.time()
        self._regulate()

    def resume_writing(self) -> None:
        """Go on, because the client has read its responses."""
        self._unread = 0
        self._since = self._loop.time()
        self._next()
        self._regulate()

    def _regulate(self) -> None:
        """Pause or resume reading, so that a client that sends too far ahead has to wait."""
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
        """Record that a request has begun to arrive."""
        self._since = self._loop.time()

    def body_grew(self, size: int) -> None:
        """Count `size` more bytes of a body."""
        self._server.holds(size)

    def received(self, request: Request) -> None:
        """Queue a complete request."""
        self._waiting.append(request)
        self._waiting_bytes += request.held
        self._afterwards = None  # the body has arrived without 100 Continue
        self._server.used(self)

    def continue_expected(self) -> None:
        """Send 100 Continue, for which the client waits before it sends the body."""
        self._afterwards = partial(self._transport.write, b"HTTP/1.1 100 Continue\r\n\r\n")

    def refused(self, answer: Answer) -> None:
        """Send this as the connection's last response, for a request that is not acceptable."""
        self._afterwards = partial(self._refuse, answer)

    # ---- answers

    def _next(self) -> None:
        """Start answering the next waiting request.

        It loops, because `take` may answer before it returns; only a few times, because thousands of requests may wait.
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
        """Send the answer to a request, and go on with the next one."""
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
        """Close after the last response; anything that the client still sends is read for a moment and discarded.

        Closing a connection with unread bytes would reset it, and a client that is still sending would not see the
        response.
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
        """Whether no request is waiting or being answered."""
        return not (self._busy or self._waiting)

    @property
    def unfinished_bytes(self) -> int:
        """The bytes held for the body that is arriving."""
        return self._parser.held_bytes

    def check_time(self, now: float) -> None:
        """Close the connection if its client takes too long. The server calls this regularly with the loop's time."""
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
            self._since = now if self._parser.begun else self._since  # the client cannot send while reading is paused

    def refuse_unfinished(self, answer: Answer) -> None:
        """Answer the request that is arriving now, without its rest."""
        self._parser.refuse(answer)
        self._next()
        self._regulate()

    def abort(self) -> None:
        """Close immediately."""
        self._closing = True
        self._transport.abort()
