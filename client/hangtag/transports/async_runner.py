"""Carries out what a Conversation says, with tasks of the running event loop. The counterpart of `sender`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ..config import Settings
from ..core.retry import Deadline, Failures
from ..core.steps import Call, Exchange, Flow, SideBySide, Step
from ..errors import HangtagError, InvalidInput, ServerBusy
from .async_concurrency import AsyncGate

T = TypeVar("T")

log = logging.getLogger("hangtag")


class AsyncTransport(Protocol):
    """Carries one exchange."""

    async def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer; raises a HangtagError."""

    async def close(self) -> None:
        """Free the connections."""


class AsyncSender:
    """One transport, made on the first call inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport: AsyncTransport | None = None
        self._closed = False
        self._gate = AsyncGate()
        self._places = asyncio.Semaphore(settings.concurrency)

    async def run(self, flow: Flow[T], timeout: float | None = None, retries: int | None = None) -> T:
        """Drive a conversation: send what it yields, give it the answers."""
        deadline = Deadline(self._settings.timeout if timeout is None else timeout)
        retries = self._settings.retries if retries is None else retries
        try:
            step = next(flow)
            while True:
                step = flow.send(await self._carry_out(step, deadline, retries))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _carry_out(self, step: Step, deadline: Deadline, retries: int) -> Any:
        if isinstance(step, Exchange):
            return await self._attempt(step, deadline, retries)
        if len(step.calls) > 1:
            return await self._side_by_side(step, deadline)
        answers = []
        for call in step.calls:
            answers.append(await self._make_and_attempt(call, deadline, tell=False))
            if step.tick:
                step.tick(len(call.images))
        return answers

    async def _side_by_side(self, step: SideBySide[T], deadline: Deadline) -> list[T]:
        tasks = self.submit(step.calls, deadline)
        images = {task: len(call.images) for task, call in zip(tasks, step.calls, strict=True)}
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # raises what went wrong as soon as it has
                    if step.tick:
                        step.tick(images[task])
            return [task.result() for task in tasks]
        finally:
            await cancel(tasks)

    def submit(self, calls: Sequence[Call[T]], deadline: Deadline | None = None) -> list[asyncio.Task[T]]:
        """Send calls as tasks; without a deadline each has the client's timeout from when it begins."""
        return [asyncio.create_task(self._in_turn(call, deadline)) for call in calls]

    async def _in_turn(self, call: Call[T], deadline: Deadline | None) -> T:
        async with self._places:
            return await self._make_and_attempt(call, deadline, tell=True)

    async def _make_and_attempt(self, call: Call[T], deadline: Deadline | None, *, tell: bool) -> T:
        try:
            return await self._attempt(
                call.make(), deadline or Deadline(self._settings.timeout), self._settings.retries
            )
        except HangtagError as error:
            error.images = call.images if tell else None
            raise

    async def _attempt(self, exchange: Exchange[T], deadline: Deadline, retries: int) -> T:
        transport = self._open()
        failures = None
        while True:
            try:
                return exchange.answer(await self._through_gate(transport, exchange, deadline))
            except (Exception, asyncio.CancelledError) as error:
                if self._closed and not _cancelled():  # grpc.aio says so by CancelledError, aiohttp by RuntimeError
                    raise InvalidInput("the client was closed during the call") from error
                if not isinstance(error, HangtagError):
                    raise
                failures = failures or Failures(exchange.path, retries, deadline)
                pause = failures.pause(error)
            await asyncio.sleep(pause)
            transport = self._open()

    async def _through_gate(self, transport: AsyncTransport, exchange: Exchange[Any], deadline: Deadline) -> bytes:
        try:
            async with asyncio.timeout(deadline.remaining()):
                place = await self._gate.enter()
        except TimeoutError as error:
            if isinstance(error, HangtagError):
                raise
            raise deadline.exceeded() from error
        busy = False
        try:
            return await transport.send(exchange, deadline.remaining())
        except ServerBusy:
            busy = True
            raise
        finally:
            self._gate.leave(place, busy=busy)

    def _open(self) -> AsyncTransport:
        if self._closed:
            raise InvalidInput("the client is closed")
        if self._transport is None:
            self._transport = _connect(self._settings)
        return self._transport

    async def close(self) -> None:
        """Free the connections. Closing twice does nothing."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    @property
    def opened(self) -> bool:
        """Whether there is something to close."""
        return self._transport is not None


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what still runs and wait until it has ended, so that no task outlives its call."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cancelled() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _connect(settings: Settings) -> AsyncTransport:
    log.debug("connecting to %s", settings.target)
    if settings.target.protocol == "grpc":
        from .grpc_async import AsyncGrpcTransport

        return AsyncGrpcTransport(settings)
    from .http_async import AsyncRestTransport

    return AsyncRestTransport(settings)
