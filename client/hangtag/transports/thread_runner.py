"""Carries out what a Conversation says, with threads: within a deadline, with retries, several calls at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import as_completed as as_they_end
from typing import Any, Protocol, TypeVar

from ..config import Settings
from ..core.concurrency import Gate
from ..core.retry import Deadline, Failures
from ..core.steps import Call, Exchange, Flow, SideBySide, Step
from ..errors import HangtagError, InvalidInput, ServerBusy

T = TypeVar("T")

log = logging.getLogger("hangtag")

# Seconds for the threads to say themselves that the time is up, which names the images; a thread that has not begun,
# for other calls' chunks, cannot.
_LATER = 0.25


class Transport(Protocol):
    """Carries one exchange."""

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer; raises a HangtagError."""

    def close(self) -> None:
        """Free the connections."""


class Sender:
    """One transport and one pool of threads, both made when first needed. May be used from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport: Transport | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._gate = Gate()
        # One thread at a time writes a request: several take the interpreter from one another at every step of it.
        self._making = threading.Lock()

    def run(self, flow: Flow[T], timeout: float | None = None, retries: int | None = None) -> T:
        """Drive a conversation: send what it yields, give it the answers."""
        deadline = Deadline(self._settings.timeout if timeout is None else timeout)
        retries = self._settings.retries if retries is None else retries
        try:
            step = next(flow)
            while True:
                step = flow.send(self._carry_out(step, deadline, retries))
        except StopIteration as done:
            result: T = done.value
            return result

    def _carry_out(self, step: Step, deadline: Deadline, retries: int) -> Any:
        if isinstance(step, Exchange):
            return self._attempt(step, deadline, retries)
        if len(step.calls) > 1 and self._settings.concurrency > 1:
            return self._side_by_side(step, deadline)
        answers = []
        for call in step.calls:
            answers.append(self._make_and_attempt(call, deadline, tell=len(step.calls) > 1))
            if step.tick:
                step.tick(len(call.images))
        return answers

    def _side_by_side(self, step: SideBySide[T], deadline: Deadline) -> list[T]:
        futures = self.submit(step.calls, deadline)
        images = {future: len(call.images) for future, call in zip(futures, step.calls, strict=True)}
        try:
            for future in as_they_end(futures, timeout=deadline.remaining() + _LATER):
                future.result()  # raises what went wrong as soon as it has
                if step.tick:
                    step.tick(images[future])
            return [future.result() for future in futures]
        except TimeoutError as error:
            if isinstance(error, HangtagError):
                raise
            raise deadline.exceeded() from error
        finally:
            for future in futures:  # after a failure: what has not begun need not
                future.cancel()

    def submit(self, calls: Sequence[Call[T]], deadline: Deadline | None = None) -> list[Future[T]]:
        """Send calls from the pool's threads; without a deadline each has the client's timeout from when it begins."""
        pool = self._workers()
        try:
            return [pool.submit(self._make_and_attempt, call, deadline, tell=True) for call in calls]
        except RuntimeError as error:  # the pool was shut down after we had got it
            raise InvalidInput("the client was closed during the call") from error

    def _make_and_attempt(self, call: Call[T], deadline: Deadline | None, *, tell: bool) -> T:
        try:
            with self._making:
                exchange = call.make()
            return self._attempt(exchange, deadline or Deadline(self._settings.timeout), self._settings.retries)
        except HangtagError as error:
            error.images = call.images if tell else None
            raise

    def _attempt(self, exchange: Exchange[T], deadline: Deadline, retries: int) -> T:
        transport = self._open()
        failures = None
        while True:
            try:
                return exchange.answer(self._through_gate(transport, exchange, deadline))
            except HangtagError as error:
                if self._closed:  # whatever the transport says of it
                    raise InvalidInput("the client was closed during the call") from error
                failures = failures or Failures(exchange.path, retries, deadline)
                pause = failures.pause(error)
            time.sleep(pause)
            transport = self._open()

    def _through_gate(self, transport: Transport, exchange: Exchange[Any], deadline: Deadline) -> bytes:
        place = self._gate.enter(deadline.remaining())
        if place is None:
            raise deadline.exceeded()
        busy = False
        try:
            return transport.send(exchange, deadline.remaining())
        except ServerBusy:
            busy = True
            raise
        finally:
            self._gate.leave(place, busy=busy)

    def _open(self) -> Transport:
        if self._transport is None or self._closed:
            with self._lock:
                if self._closed:
                    raise InvalidInput("the client is closed")
                if self._transport is None:
                    self._transport = _connect(self._settings)
        return self._transport

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise InvalidInput("the client is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="hangtag")
            return self._pool

    def close(self) -> None:
        """Free connections and threads. Closing twice does nothing."""
        with self._lock:
            self._closed = True
            transport, self._transport = self._transport, None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)  # calls that have not begun fail as they do; cancelled, they would wake nobody
        if transport is not None:
            transport.close()

    @property
    def opened(self) -> bool:
        """Whether there is something to close."""
        return self._transport is not None


def _connect(settings: Settings) -> Transport:
    log.debug("connecting to %s", settings.target)
    if settings.target.protocol == "grpc":
        from .grpc import GrpcTransport

        return GrpcTransport(settings)
    from .http import RestTransport, wants_requests

    if wants_requests(settings):
        return RestTransport(settings)
    from .http_sockets import HttpTransport

    return HttpTransport(settings)
