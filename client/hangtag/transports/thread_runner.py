"""Sends the calls of a session from threads: with deadlines, retries, and several calls at once."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Protocol, TypeVar

from ..config.options import Options
from ..core.calls import Call, Calls, Flow
from ..core.retry import Attempts, ConcurrencyLimit, Deadline
from ..core.streaming import END, Emit, Next, Start, Steps, Wait
from ..errors import HangtagError, InvalidInput, ServerBusy
from ..protocol.request import Request
from ..results import Classification

T = TypeVar("T")

log = logging.getLogger("hangtag")

# Seconds after the deadline for the threads to raise DeadlineExceeded themselves: their error names the images
# of the chunk. A chunk that still waits for a thread, behind other calls, cannot raise it.
_GRACE = 0.25


class Transport(Protocol):
    """Sends one request."""

    def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""

    def close(self) -> None:
        """Free the connections."""


class ThreadRunner:
    """One transport and one pool of threads, both made on first use. Many threads may use one runner."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._transport: Transport | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._process = 0  # the process that made the transport; it does not work in a forked one
        self._limit = ConcurrencyLimit()
        # One thread at a time encodes a request: several would slow each other down by switching at every step.
        self._encoding = threading.Lock()

    def run(self, flow: Flow[T], timeout: float | None = None, retries: int | None = None) -> T:
        """The result of a flow of the session. Sends the calls that it yields, and passes it the replies."""
        timeout = self._options.timeout if timeout is None else timeout
        deadline = Deadline(time.monotonic() + timeout, timeout)
        try:
            calls = next(flow)
            while True:
                try:
                    if len(calls.calls) == 1 and calls.progress is None:  # the usual case, without a list around it
                        replies = [self._send(calls.calls[0], deadline, retries, False)]
                    else:
                        replies = self._send_all(calls, deadline, retries)
                except HangtagError as error:
                    calls = flow.throw(error)
                else:
                    calls = flow.send(replies)
        except StopIteration as done:
            result: T = done.value
            return result

    def stream(self, steps: Steps, items: Iterable[Any]) -> Iterator[Classification]:
        """Carry out the steps of a stream. The client's timeout applies to each request."""
        source = iter(items)
        started: list[Future[Any]] = []
        try:
            step = next(steps)
            while True:
                answer: Any = None
                try:
                    if isinstance(step, Emit):
                        yield step.result
                    elif isinstance(step, Next):
                        answer = next(source, END)
                    elif isinstance(step, Start):
                        answer = self._submit(step.calls, None)
                        started = [future for future in started if not future.done()] + answer
                    elif isinstance(step, Wait):
                        answer = _outcome(step.pending)
                    else:
                        timeout = self._options.timeout
                        answer = self._send_all(step, Deadline(time.monotonic() + timeout, timeout), None)
                except Exception as error:  # the stream decides what an error of the source or of a request means
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration:
            return
        finally:
            for future in started:
                future.cancel()

    def _send_all(self, calls: Calls[T], deadline: Deadline, retries: int | None) -> list[T]:
        """The replies to calls, in order; several calls run at once."""
        many = len(calls.calls) > 1
        if many and self._options.concurrency > 1:
            return self._side_by_side(calls, deadline)
        replies = []
        for call in calls.calls:
            replies.append(self._send(call, deadline, retries, many))
            if calls.progress is not None:
                calls.progress(len(call.images))
        return replies

    def _side_by_side(self, calls: Calls[T], deadline: Deadline) -> list[T]:
        futures = self._submit(calls.calls, deadline)
        images = {future: len(call.images) for future, call in zip(futures, calls.calls, strict=True)}
        try:
            for future in as_completed(futures, timeout=deadline.remaining() + _GRACE):
                future.result()  # raises the first error as soon as it occurs
                if calls.progress is not None:
                    calls.progress(images[future])
            return [future.result() for future in futures]
        except TimeoutError as error:
            if isinstance(error, HangtagError):
                raise
            raise deadline.exceeded() from error
        finally:
            for future in futures:  # after a failure, calls that have not begun are not sent
                future.cancel()

    def _submit(self, calls: Sequence[Call[T]], deadline: Deadline | None) -> list[Future[T]]:
        """Send calls from the pool's threads; without a deadline, the client's timeout applies to each call."""
        pool = self._workers()
        try:
            return [pool.submit(self._send, call, deadline, None, True) for call in calls]
        except RuntimeError as error:  # another thread has closed the client meanwhile
            raise InvalidInput("the client was closed during the call") from error

    def _send(self, call: Call[T], deadline: Deadline | None, retries: int | None, name_images: bool) -> T:
        """Encode a call, send it with retries, and decode the response."""
        deadline = deadline or Deadline(time.monotonic() + self._options.timeout, self._options.timeout)
        limit, attempts = self._limit, None
        try:
            with self._encoding:
                request = call.encode()
            while True:
                transport = self._transport
                if transport is None or self._closed or self._process != os.getpid():
                    transport = self._open()
                if limit.limited and limit.full():
                    limit.wait(deadline)
                began, busy = time.monotonic(), False
                limit.running.add(id(request))
                try:
                    return request.decode(transport.send(request, deadline))
                except HangtagError as error:
                    if self._closed:  # the transport's error only says that the connection is gone
                        raise InvalidInput("the client was closed during the call") from error
                    busy = isinstance(error, ServerBusy)
                    attempts = attempts or Attempts(
                        request.path, self._options.retries if retries is None else retries, deadline
                    )
                    pause = attempts.pause(error)
                finally:
                    limit.running.discard(id(request))
                    if busy or limit.limited:
                        limit.ended(began, busy=busy)
                time.sleep(pause)
        except HangtagError as error:
            if name_images:
                error.images = call.images
            raise

    def _open(self) -> Transport:
        with self._lock:
            if self._closed:
                raise InvalidInput("the client is closed")
            if self._transport is None:
                self._transport, self._process = _connect(self._options), os.getpid()
            elif self._process != os.getpid():
                raise InvalidInput("this client was used before the process forked: make a new one in each process")
            return self._transport

    def _workers(self) -> ThreadPoolExecutor:
        self._open()
        with self._lock:
            if self._closed:
                raise InvalidInput("the client is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._options.concurrency, thread_name_prefix="hangtag")
            return self._pool

    def close(self) -> None:
        """Free connections and threads. Closing twice does nothing."""
        with self._lock:
            self._closed = True
            transport, self._transport = self._transport, None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)  # waiting calls then fail; cancelling them would leave their callers waiting
        if transport is not None and self._process == os.getpid():
            transport.close()

    @property
    def opened(self) -> bool:
        """Whether there is something to close."""
        return self._transport is not None


def _outcome(pending: Sequence[Future[T]]) -> tuple[list[T], HangtagError | None]:
    """The replies before the first failure, and that failure."""
    replies = []
    for future in pending:
        try:
            replies.append(future.result())
        except HangtagError as error:
            return replies, error
    return replies, None


def _connect(options: Options) -> Transport:
    log.debug("connecting to %s", options.server)
    if options.server.protocol == "grpc":
        from .grpc import GrpcTransport

        return GrpcTransport(options)
    from .http import HttpTransport

    return HttpTransport(options)
