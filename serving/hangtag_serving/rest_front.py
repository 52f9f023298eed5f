"""The REST door: HTTP/1.1 by httptools' compiled parser on uvloop's event loop.

Small requests are answered in the loop's own thread, which saves two hand-overs; larger ones, and all of them while
the small ones are slow, go to a pool, where TensorFlow computes outside the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import httptools

from .rest_service import Answer, RestService, too_large

_INLINE_BYTES = 16 << 10
_INLINE_SECONDS = 0.001  # while small requests take longer than this, they go to the pool as well
_WAITING_REQUESTS = 64  # pipelined on one connection before its socket is left unread
_MAX_HEADER_BYTES = 64 << 10
_LINGER_SECONDS = 2.0

_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)
_REASONS = {429: b"Client Error", 499: b"Client Error"}  # libevent's words, where it knows no others


class RestFront:
    """Serves an already bound socket from `start` to `stop`, on an event loop in a thread of its own."""

    def __init__(self, listener: socket.socket, service: RestService, *, threads: int, max_body_bytes: int) -> None:
        self._listener, self.service, self.max_body_bytes = listener, service, max_body_bytes
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self.connections: set[_Connection] = set()
        self.stopping = False
        self.small_seconds = 0.0  # a moving average
        self._loop = _new_loop()
        self._empty = asyncio.Event()
        self._date = (0, b"")
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Accept connections."""
        self._listener.listen(1024)  # from here on a client gets in, even before the loop runs
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new connections, let running requests finish for `grace` seconds, then cut them."""
        asyncio.run_coroutine_threadsafe(self._drain(grace), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.stopping and not self.connections:
            self._empty.set()

    def is_inline(self, size: int) -> bool:
        """Whether a request of so many bytes is answered in the loop's thread."""
        return size <= _INLINE_BYTES and self.small_seconds < _INLINE_SECONDS

    def took(self, size: int, seconds: float) -> None:
        """Learn from an answer how long small requests take."""
        if size <= _INLINE_BYTES:
            self.small_seconds += (min(seconds, 0.1) - self.small_seconds) / 16

    def date(self) -> bytes:
        """The Date header, made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._server = self._loop.run_until_complete(
                self._loop.create_server(lambda: _Connection(self, self._loop), sock=self._listener)
            )
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _drain(self, grace: float) -> None:
        self.stopping = True
        self._server.close()
        for connection in list(self.connections):
            connection.finish()
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), grace)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.cut()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Connection(asyncio.Protocol):
    """One client's connection; its requests are answered in their order."""

    def __init__(self, front: RestFront, loop: asyncio.AbstractEventLoop) -> None:
        self._front, self._loop = front, loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[str, str, dict[str, str], bytes, bool]] = deque()
        self._busy = self._closing = False
        self._transport: Any = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._front.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._waiting.clear()
        self._front.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Answer(501, b"", "text/html"))
        except httptools.HttpParserInvalidMethodError:
            self._refuse(self._front.service.respond("?", "/", {}, b""))
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
        self._waiting.append((verb, self._url.decode("latin-1"), self._headers, body, keep))
        if not self._busy:
            self._next()

    # ---- answers

    def _next(self) -> None:
        while self._waiting and not self._busy and not self._closing:
            verb, path, headers, body, keep = self._waiting.popleft()
            if self._front.is_inline(len(body)):
                begun = time.perf_counter()
                answer = self._front.service.respond(verb, path, headers, body)
                self._front.took(len(body), time.perf_counter() - begun)
                self._write(answer, verb, keep)
            else:
                self._busy = True
                work: Future[Answer] = self._front.pool.submit(self._timed, verb, path, headers, body)
                work.add_done_callback(self._when_done(verb, keep))

    def _timed(self, verb: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        begun = time.perf_counter()
        answer = self._front.service.respond(verb, path, headers, body)
        self._front.took(len(body), time.perf_counter() - begun)
        return answer

    def _when_done(self, verb: str, keep: bool) -> Callable[[Future[Answer]], None]:
        def done(work: Future[Answer]) -> None:
            with suppress(RuntimeError):  # the grace is over and the loop closed: nobody waits for the answer
                if not work.cancelled():
                    self._loop.call_soon_threadsafe(self._answered, work.result(), verb, keep)

        return done

    def _answered(self, answer: Answer, verb: str, keep: bool) -> None:
        self._busy = False
        if not self._closing:
            self._write(answer, verb, keep)
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
            _CORS if self._front.service.cors else b"",
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
