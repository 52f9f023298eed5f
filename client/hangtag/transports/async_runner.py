"""Sends the calls of a session as tasks of the running event loop; `thread_runner` does the same with threads."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
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


class AsyncTransport(Protocol):
    """Sends one request."""

    async def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""

    async def close(self) -> None:
        """Free the connections."""


class AsyncRunner:
    """One transport, made on the first call. It belongs to the event loop of that call."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._transport: AsyncTransport | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0  # the process that made the transport; it does not work in a forked one
        self._limit = ConcurrencyLimit()
        self._waiting: list[asyncio.Future[None]] = []  # calls that wait for the limit
        self._places = asyncio.Semaphore(options.concurrency)

    async def run(self, flow: Flow[T], timeout: float | None = None, retries: int | None = None) -> T:
        """The result of a flow of the session. Sends the calls that it yields, and passes it the replies."""
        timeout = self._options.timeout if timeout is None else timeout
        deadline = Deadline(time.monotonic() + timeout, timeout)
        try:
            calls = next(flow)
            while True:
                try:
                    replies = await self._send_all(calls, deadline, retries)
                except HangtagError as error:
                    calls = flow.throw(error)
                else:
                    calls = flow.send(replies)
        except StopIteration as done:
            result: T = done.value
            return result

    async def stream(
        self, steps: Steps, items: Iterable[Any] | AsyncIterable[Any]
    ) -> AsyncGenerator[Classification, None]:
        """Carry out the steps of a stream. The client's timeout applies to each request."""
        source = aiter(items) if isinstance(items, AsyncIterable) else _each(items)
        started: list[asyncio.Task[Any]] = []
        try:
            step = next(steps)
            while True:
                answer: Any = None
                try:
                    if isinstance(step, Emit):
                        yield step.result
                    elif isinstance(step, Next):
                        answer = await anext(source, END)
                    elif isinstance(step, Start):
                        answer = self._submit(step.calls, None)
                        started = [task for task in started if not task.done()] + answer
                    elif isinstance(step, Wait):
                        answer = await _outcome(step.pending)
                    else:
                        timeout = self._options.timeout
                        answer = await self._send_all(step, Deadline(time.monotonic() + timeout, timeout), None)
                except Exception as error:  # the stream decides what an error of the source or of a request means
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration:
            return
        finally:
            await _cancel(started)

    async def _send_all(self, calls: Calls[T], deadline: Deadline, retries: int | None) -> list[T]:
        """The replies to calls, in order; several calls run at once."""
        if len(calls.calls) > 1:
            return await self._side_by_side(calls, deadline)
        replies = []
        for call in calls.calls:
            replies.append(await self._send(call, deadline, retries, False))
            if calls.progress is not None:
                calls.progress(len(call.images))
        return replies

    async def _side_by_side(self, calls: Calls[T], deadline: Deadline) -> list[T]:
        tasks = self._submit(calls.calls, deadline)
        images = {task: len(call.images) for task, call in zip(tasks, calls.calls, strict=True)}
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # raises the first error as soon as it occurs
                    if calls.progress is not None:
                        calls.progress(images[task])
            return [task.result() for task in tasks]
        finally:
            await _cancel(tasks)

    def _submit(self, calls: Sequence[Call[T]], deadline: Deadline | None) -> list[asyncio.Task[T]]:
        """Send calls as tasks; without a deadline, the client's timeout applies to each call."""
        return [asyncio.create_task(self._in_turn(call, deadline)) for call in calls]

    async def _in_turn(self, call: Call[T], deadline: Deadline | None) -> T:
        async with self._places:
            return await self._send(call, deadline, None, True)

    async def _send(self, call: Call[T], deadline: Deadline | None, retries: int | None, name_images: bool) -> T:
        """Encode a call, send it with retries, and decode the response."""
        deadline = deadline or Deadline(time.monotonic() + self._options.timeout, self._options.timeout)
        limit, attempts = self._limit, None
        try:
            request = call.encode()
            while True:
                transport = self._open()
                if limit.limited and limit.full():
                    await self._wait(deadline)
                began, busy = time.monotonic(), False
                limit.running.add(id(request))
                try:
                    return request.decode(await transport.send(request, deadline))
                except (Exception, asyncio.CancelledError) as error:
                    # After the client is closed, grpc.aio raises CancelledError and aiohttp RuntimeError.
                    if self._closed and not _cancelled():
                        raise InvalidInput("the client was closed during the call") from error
                    if not isinstance(error, HangtagError):
                        raise
                    busy = isinstance(error, ServerBusy)
                    attempts = attempts or Attempts(
                        request.path, self._options.retries if retries is None else retries, deadline
                    )
                    pause = attempts.pause(error)
                finally:
                    limit.running.discard(id(request))
                    if busy or limit.limited:
                        limit.ended(began, busy=busy)
                        self._wake()
                await asyncio.sleep(pause)
        except HangtagError as error:
            if name_images:
                error.images = call.images
            raise

    async def _wait(self, deadline: Deadline) -> None:
        """Wait until a call may begin; raises DeadlineExceeded."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                while self._limit.full():
                    self._waiting.append(place := asyncio.get_running_loop().create_future())
                    await place
        except TimeoutError as error:
            raise deadline.exceeded() from error

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for place in waiting:  # wake all of them: one that is cancelled now must not delay the others
            if not place.done():
                place.set_result(None)

    def _open(self) -> AsyncTransport:
        if self._closed:
            raise InvalidInput("the client is closed")
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, self._loop, self._process = _connect(self._options), loop, os.getpid()
        elif self._loop is not loop:  # grpc.aio and aiohttp raise RuntimeError, or never return
            raise InvalidInput("an AsyncClient belongs to the event loop of its first call: make one in each loop")
        elif self._process != os.getpid():
            raise InvalidInput("this client was used before the process forked: make a new one in each process")
        return self._transport

    async def close(self) -> None:
        """Free the connections. Closing twice does nothing."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None and self._process == os.getpid():
            await transport.close()

    @property
    def opened(self) -> bool:
        """Whether there is something to close."""
        return self._transport is not None


async def _each(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _outcome(pending: Sequence[asyncio.Task[T]]) -> tuple[list[T], HangtagError | None]:
    """The replies before the first failure, and that failure."""
    replies = []
    for task in pending:
        try:
            replies.append(await task)
        except HangtagError as error:
            return replies, error
    return replies, None


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel running tasks and wait for their end, so that no task outlives its call."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cancelled() -> bool:
    """Whether the running task is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _connect(options: Options) -> AsyncTransport:
    log.debug("connecting to %s", options.server)
    if options.server.protocol == "grpc":
        from .grpc import AsyncGrpcTransport

        return AsyncGrpcTransport(options)
    from .http_async import AsyncHttpTransport

    return AsyncHttpTransport(options)
