"""The REST door: an event loop that reads, sorts and answers; what takes long is done elsewhere.

Small predict requests of the usual kind are answered in the loop's own thread, all that are ready at once, which saves
two hand-overs and many runs. The numbers of large ones are parsed by helpers, other processes. Runs that are not known
to be quick, and whatever else is posted, go to a pool of threads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from functools import partial

import numpy as np

from ..api.rest_resources import Answer, RestService
from ..fast.coalescing import Run
from ..fast.json_numbers import MANY_BYTES, read_numbers
from ..fast.json_workers import Helpers, helper_count
from ..fast.rest_predict import Asked
from .connection import Connection
from .parser import Request

log = logging.getLogger("hangtag.serving")

_INLINE_SECONDS = 0.001  # what is expected to take longer goes to the pool

_Origin = tuple[Connection, Request]


class RestFront:
    """Serves an already bound socket from `start` to `stop`, on an event loop in a thread of its own.

    `in_bursts`: whether predict requests may be answered together.
    """

    def __init__(
        self, listener: socket.socket, service: RestService, *, threads: int, max_body_bytes: int, in_bursts: bool
    ) -> None:
        self._listener, self._service, self.max_body_bytes = listener, service, max_body_bytes
        self.cors, self.stopping = service.cors, False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._connections: set[Connection] = set()
        self._look_seconds = 0.0  # a moving average of requests that only look: status, metadata, metrics
        self._loop = _new_loop()
        self._bursts = service.bursts(self._answered) if in_bursts else None
        self._helpers = Helpers(self._loop, helper_count())
        self._ready: list[tuple[_Origin, Asked, np.ndarray]] = []
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
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- for connections

    def opened(self, connection: Connection) -> None:
        """A client has come."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """A client has gone."""
        self._connections.discard(connection)
        if self.stopping and not self._connections:
            self._empty.set()

    def take(self, connection: Connection, request: Request) -> None:
        """Answer a request, now or later."""
        origin = connection, request
        asked = None
        if self._bursts is not None and request.verb == "POST" and not request.is_encoded:
            asked = self._bursts.read(request.path, request.body)
        if asked is None:
            self._respond(origin)
        elif len(asked.numbers.text) < MANY_BYTES:
            self._parsed(origin, asked, read_numbers(*self._numbers(asked)))
        elif not self._helpers.read(*self._numbers(asked), partial(self._parsed, origin, asked)):
            self._respond(origin)

    def unknown_method(self) -> Answer:
        """What a request with a method that HTTP does not have gets."""
        return self._service.respond("?", "/", {}, b"")

    def date(self) -> bytes:
        """The Date header, made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    # ---- predict requests of the usual kind

    def _numbers(self, asked: Asked) -> tuple[memoryview, int, int]:
        return asked.numbers.text, asked.dtype_number, self._service.max_json_depth

    def _parsed(self, origin: _Origin, asked: Asked, array: np.ndarray | None) -> None:
        """Answer it once everything that has arrived by now is parsed."""
        if array is None:
            self._respond(origin)
            return
        if not self._ready:
            self._loop.call_soon(self._answer_ready)
        self._ready.append((origin, asked, array))

    def _answer_ready(self) -> None:
        ready, self._ready = self._ready, []
        assert self._bursts is not None  # noqa: S101 - only they fill the list
        try:
            runs, unread = self._bursts.sort(ready)
        except Exception:
            log.exception("REST requests could not be sorted")
            runs, unread = [], [origin for origin, _, _ in ready]
        for run in runs:
            if 0 < run.expected < _INLINE_SECONDS:
                self._run_calls(run)
            else:
                self._pool.submit(self._run_calls, run)
        for origin in unread:
            self._respond(origin)

    def _run_calls(self, run: Run) -> None:
        assert self._bursts is not None  # noqa: S101 - it made the run
        try:
            self._bursts.answer(run)
        except Exception:
            log.exception("a burst of REST requests failed")

    def _answered(self, origin: _Origin, answer: Answer) -> None:
        connection, request = origin
        if threading.current_thread() is self._thread:
            connection.answered(answer, request)
        else:
            with suppress(RuntimeError):  # the grace is over and the loop closed: nobody waits for the answer
                self._loop.call_soon_threadsafe(connection.answered, answer, request)

    # ---- all others

    def _respond(self, origin: _Origin) -> None:
        connection, request = origin
        if request.verb == "GET" and self._look_seconds < _INLINE_SECONDS:
            connection.answered(self._answer(request), request)
        else:
            work: Future[Answer] = self._pool.submit(self._answer, request)
            work.add_done_callback(self._when_done(origin))

    def _answer(self, request: Request) -> Answer:
        begun = time.perf_counter()
        answer = self._service.respond(request.verb, request.path, request.headers, request.body)
        if request.verb == "GET":
            self._look_seconds += (min(time.perf_counter() - begun, 0.1) - self._look_seconds) / 16
        return answer

    def _when_done(self, origin: _Origin) -> Callable[[Future[Answer]], None]:
        def done(work: Future[Answer]) -> None:
            if not work.cancelled():
                self._answered(origin, work.result())

        return done

    # ---- the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._server = self._loop.run_until_complete(
                self._loop.create_server(lambda: Connection(self, self._loop), sock=self._listener)
            )
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _drain(self, grace: float) -> None:
        self.stopping = True
        self._server.close()
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            try:
                await asyncio.wait_for(self._empty.wait(), grace)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.cut()
        self._helpers.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
