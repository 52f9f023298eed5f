"""The REST server: an event loop in its own thread reads requests, and a pool of threads answers them.

GET requests (status, metadata, metrics) are answered in the loop's thread as long as they are quick. With --fast,
`fast.rest_predict` takes predict requests of the most common form; all others go to the pool.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate

from ..api.rest_resources import Answer, RestService, refusal
from ..errors import ServingError
from ..fast.rest_predict import RestFastPath
from ..machine import MemoryTrimmer, new_event_loop, raise_descriptor_limit
from . import limits
from .connection import Connection
from .parser import Request

log = logging.getLogger("hangtag.serving")

_INLINE_SECONDS = 0.001  # requests that are expected to take longer go to the pool
_ACCEPTS_AT_A_TIME = 64
_SO_ATTACH_FILTER = 26  # Linux's; Python has no name for it
_ACCEPT_PAUSE_SECONDS = 0.2  # after a failure for lack of file descriptors

_Origin = tuple[Connection, Request]


class RestServer:
    """Serves a bound socket from `start` to `stop`."""

    def __init__(
        self,
        listener: socket.socket,
        service: RestService,
        *,
        threads: int,
        max_body_bytes: int,
        make_fast: Callable[[RestServer], RestFastPath] | None = None,
    ) -> None:
        """Without `make_fast`, every request takes the plain path."""
        self._listener, self._service, self.max_body_bytes = listener, service, max_body_bytes
        self.cors, self.stopping = service.cors, False
        self.loop = new_event_loop()
        self._trimmer = MemoryTrimmer()
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._fast = make_fast(self) if make_fast is not None else None
        self._connections: dict[Connection, None] = {}  # in the order of their last use
        self._max_connections = min(limits.MAX_CONNECTIONS, raise_descriptor_limit() // 2)
        self._held_bytes, self._max_held_bytes = 0, limits.HELD_BODIES * max_body_bytes
        self._get_seconds = 0.0  # a moving average of GET requests
        self._date = (0, b"")
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Accept connections."""
        self._listener.listen(1024)  # clients can connect from here on, even before the loop runs
        self._listener.setblocking(False)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new connections, wait at most `grace` seconds for running requests, then end them."""
        asyncio.run_coroutine_threadsafe(self._drain(grace), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.pool.shutdown(wait=False, cancel_futures=True)

    # ---- requests

    def take(self, connection: Connection, request: Request) -> None:
        """Answer a request with `connection.answered`, now or later. Call it in the loop's thread."""
        origin = connection, request
        self._trimmer.note(len(request.body))
        if self._held_bytes > 2 * self._max_held_bytes:
            connection.answered(_too_much(), request)
        elif (
            self._fast is None
            or request.verb != "POST"
            or "content-encoding" in request.headers
            or not self._fast.take(origin, request.path, request.body)
        ):
            self.answer_plainly(origin)

    def answer_plainly(self, origin: _Origin) -> None:
        """Answer a request by the plain path. Call it in the loop's thread."""
        connection, request = origin
        if request.verb == "GET" and self._get_seconds < _INLINE_SECONDS:
            connection.answered(self._answer(request), request)
        else:
            work: Future[Answer] = self.pool.submit(self._answer, request)
            work.add_done_callback(lambda work: None if work.cancelled() else self.answered(origin, work.result()))

    def _answer(self, request: Request) -> Answer:
        begun = time.perf_counter()
        answer = self._service.respond(request.verb, request.path, request.headers, request.body)
        if request.verb == "GET":
            self._get_seconds += (min(time.perf_counter() - begun, 0.1) - self._get_seconds) / 16
        return answer

    def answered(self, origin: _Origin, answer: Answer) -> None:
        """Send the answer to a request. Any thread may call it."""
        connection, request = origin
        if threading.get_ident() == self._thread.ident:
            connection.answered(answer, request)
        else:
            with suppress(RuntimeError):  # the loop is closed after the grace period
                self.loop.call_soon_threadsafe(connection.answered, answer, request)

    def unknown_method(self) -> Answer:
        """The answer to a request with a method that HTTP does not have."""
        return self._service.respond("?", "/", {}, b"")

    def date(self) -> bytes:
        """The Date header, made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    # ---- connections and their limits

    def opened(self, connection: Connection) -> None:
        """Add a connection. Beyond the limit, close the connection that has been idle longest."""
        self._connections[connection] = None
        if len(self._connections) > self._max_connections:
            idle = next((c for c in self._connections if c.is_idle), connection)
            idle.abort()
            self.closed(idle)

    def closed(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)

    def used(self, connection: Connection) -> None:
        """Record that a request has arrived on this connection."""
        if self._connections.pop(connection, 0) is None:
            self._connections[connection] = None

    def holds(self, size: int) -> None:
        """Count `size` more bytes of bodies in memory. Beyond the limit, refuse the largest body that is arriving."""
        self._held_bytes += size
        if size > 0 and self._held_bytes > self._max_held_bytes:
            largest = max(self._connections, key=lambda c: c.unfinished_bytes, default=None)
            if largest is not None and largest.unfinished_bytes:
                largest.refuse_unfinished(_too_much())

    def _accept(self) -> bool:
        """Accept waiting connections; returns whether there was one."""
        for count in range(_ACCEPTS_AT_A_TIME):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError, InterruptedError):
                return count > 0
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self.loop.remove_reader(self._listener.fileno())
                self.loop.call_later(_ACCEPT_PAUSE_SECONDS, self._listen)
                return False
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.loop.create_task(self._connect(accepted))
        return True

    async def _connect(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # the client has already disconnected
            await self.loop.connect_accepted_socket(lambda: Connection(self, self.loop), accepted)

    def _listen(self) -> None:
        if not self.stopping:
            self.loop.add_reader(self._listener.fileno(), self._accept)  # the number, to let the socket be closed

    # ---- the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self._listen()
            self._watching = self.loop.create_task(self._watch())
            self.loop.run_forever()
        finally:
            self.loop.close()

    async def _watch(self) -> None:
        """Close the connections of clients that take too long."""
        while True:
            await asyncio.sleep(0.1 if self.stopping else 1.0)
            now = self.loop.time()
            for connection in list(self._connections):
                connection.check_time(now)

    async def _drain(self, grace: float) -> None:
        """Answer all requests that were sent before the stop, for at most `grace` seconds.

        First accept the waiting connections, which closing the listener would reset. Then close each connection after
        its next response, or when it has been idle for a moment.
        """
        end = self.loop.time() + grace
        self.stopping = True
        self.loop.remove_reader(self._listener.fileno())
        _ignore_new_connections(self._listener)
        while self._accept():
            await asyncio.sleep(0)
        self._listener.close()
        self._watching.cancel()
        self._watching = self.loop.create_task(self._watch())
        await asyncio.sleep(limits.QUIET_SECONDS)
        while self._connections and self.loop.time() < end:
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.abort()
        self._watching.cancel()
        if self._fast is not None:
            self._fast.close()


def _too_much() -> Answer:
    return refusal(ServingError("UNAVAILABLE", "The server holds too many bytes of requests; try again later"))


def _ignore_new_connections(listener: socket.socket) -> None:
    """Make Linux drop packets of new connections. The client's system repeats them, and then the port is closed."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one BPF instruction: return 0
    with suppress(OSError):  # not Linux
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop_all)))
