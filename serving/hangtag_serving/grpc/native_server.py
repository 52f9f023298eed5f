"""The compiled gRPC server: pygrpc-native does HTTP/2 and framing in Rust, outside the interpreter's lock.

It has no TLS and no message limits, so it only listens on loopback. This module refuses too large messages, but only
after they have arrived: the library reports complete messages only, of at most 4 GiB. This module also drains: new
calls get UNAVAILABLE, running ones finish, then the server is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pygrpc_native

from hangtag.errors import CODES

from ..api.grpc_methods import PREDICT, RELOAD, Method
from ..errors import INTERNAL, ServingError
from ..fast.coalescing import Batch
from ..fast.grpc_predict import Make
from ..machine import MemoryTrimmer, usable_cores
from .health import WATCH, watch
from .interface import MAX_STREAMS, GrpcOptions, status_message

log = logging.getLogger("hangtag.serving")

_MAX_EVENTS = 64  # calls that a thread receives at once
_QUICK_SECONDS = 0.001  # for shorter work it is not worth waking another thread
_SLOW_SECONDS = 0.02  # a longer batch goes to the pool, so that a slow model does not delay a quick one
_FLUSH_SECONDS = 0.2  # between the last answer and the close, because other threads send the answers

_STOPPING = "the server is stopping"

_Event = tuple[int, int, int, bytes, bytes]  # kind, call id, method id, request, client


class NativeServer:
    """Listens from `start` to `stop`. Raises OSError or RuntimeError if it cannot listen.

    Without `make_fast`, every call takes the plain path.
    """

    def __init__(self, options: GrpcOptions, methods: Mapping[str, Method], make_fast: Make | None = None) -> None:
        names = [PREDICT, *(name for name in methods if name != PREDICT)]
        self._methods = [methods[name] for name in names]
        self._reload = names.index(RELOAD)
        self._max_message_bytes = options.max_message_bytes
        streams = [(WATCH, True)] if options.health else []
        self._watch = len(names) if streams else -1
        cores = usable_cores()
        self._native = pygrpc_native.NativeGrpcFront(
            options.address,
            [*((name, False) for name in names), *streams],
            io_threads=1 if cores <= 2 else 2,
            max_concurrent_streams=MAX_STREAMS,
            keepalive_time_ms=60_000,
        )
        self._fast = make_fast(self._respond, self._fail) if make_fast is not None else None
        self._trimmer = MemoryTrimmer()
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="grpc")
        self._reloads = ThreadPoolExecutor(1, thread_name_prefix="reload")  # a reload may wait for a model for hours
        self._running, self._stopping = 0, False
        self._count = threading.Lock()  # of `_running`
        self._idle = threading.Event()  # set once no call runs while the server stops
        # One thread at a time receives calls and answers quick ones: two would mostly wait for the interpreter's lock.
        # Before a longer batch it lets the next thread receive, because TensorFlow runs without that lock.
        self._turn = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._workers = [
            threading.Thread(target=self._work, name=f"grpc-{number}", daemon=True) for number in range(max(2, cores))
        ]

    def start(self) -> None:
        """Accept calls."""
        self._native.start()
        for worker in self._workers:
            worker.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, wait at most `grace` seconds for running ones, then end them."""
        with self._count:
            self._stopping = True
            if not self._running:
                self._idle.set()
        self._idle.wait(grace)
        time.sleep(min(grace, _FLUSH_SECONDS))
        self._native.close()
        for worker in self._workers:
            worker.join(1)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reloads.shutdown(wait=False, cancel_futures=True)

    # ---- receiving calls

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            self._answer_batch(batch)

    def _next(self) -> Batch | None:
        """Receive calls and answer quick batches, until there is a longer batch to return. None when closed."""
        while True:
            with suppress(IndexError):
                return self._waiting.popleft()
            with self._turn:
                while not self._waiting:
                    events = self._native.recv_batch(_MAX_EVENTS)
                    if events is None:
                        return None
                    batches = self._dispatch(events)
                    if sum(batch.expected_seconds for batch in batches) < _QUICK_SECONDS:
                        for batch in batches:
                            self._answer_batch(batch)
                    else:
                        self._waiting.extend(batches)

    def _dispatch(self, events: Iterable[_Event]) -> list[Batch]:
        """Submit calls to the pool, except the returned batches, which are quick enough for this thread."""
        calls = [event for event in events if event[0] == pygrpc_native.EVENT_CALL and self._accept(event)]
        if not self._enter(len(calls)):
            for call in calls:
                self._native.fail(call[1], CODES.index("UNAVAILABLE"), _STOPPING)
            return []
        if self._fast is None:
            for _, number, method, body, _ in calls:
                self._submit(number, method, body)
            return []
        for _, number, method, body, _ in calls:
            if method != 0:
                self._submit(number, method, body)
        batches, unmatched = self._fast.sort((number, body) for _, number, method, body, _ in calls if method == 0)
        for number, body in unmatched:
            self._submit(number, 0, body)
        ours = []
        for batch in batches:
            if 0 < batch.expected_seconds <= _SLOW_SECONDS:  # 0: the first of its size, which is slow in TensorFlow
                ours.append(batch)
            else:
                self._pool.submit(self._answer_batch, batch)
        return ours

    def _accept(self, call: _Event) -> bool:
        """Whether the message is within the limit; if not, refuse the call with grpcio's text."""
        size, limit = len(call[3]), self._max_message_bytes
        if size > limit:
            self._trimmer.note(size)
            message = f"SERVER: Received message larger than max ({size} vs. {limit})"
            self._native.fail(call[1], CODES.index("RESOURCE_EXHAUSTED"), message)
        return size <= limit

    def _submit(self, number: int, method: int, body: bytes) -> None:
        pool = self._reloads if method == self._reload else self._pool
        pool.submit(self._answer, number, method, body)

    # ---- answering

    def _answer_batch(self, batch: Batch) -> None:
        assert self._fast is not None  # noqa: S101 - it made the batch
        try:
            self._fast.answer(batch)
        finally:
            self._trimmer.note(max(call.size for call in batch.calls))
            self._leave(len(batch.calls))

    def _answer(self, number: int, method: int, body: bytes) -> None:
        try:
            if method == self._watch:
                self._native.stream_send(number, watch(body))
                return
            self._respond(number, self._methods[method](body))
            if method == 0 and self._fast is not None:
                self._fast.learn(body)
        except ServingError as error:
            self._fail(number, error)
        except Exception:
            log.exception("a gRPC request failed")
            self._fail(number, ServingError("INTERNAL", INTERNAL))
        finally:
            self._trimmer.note(len(body))
            self._leave(1)

    def _respond(self, number: int, answer: bytes) -> None:
        self._native.respond(number, answer)

    def _fail(self, number: int, error: ServingError) -> None:
        self._native.fail(number, CODES.index(error.code), status_message(error.message))

    def _enter(self, calls: int) -> bool:
        with self._count:
            if not self._stopping:
                self._running += calls
            return not self._stopping

    def _leave(self, calls: int) -> None:
        with self._count:
            self._running -= calls
            if self._stopping and not self._running:
                self._idle.set()
