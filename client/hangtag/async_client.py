"""The asyncio client: the same calls as Client's, awaited."""

from __future__ import annotations

import asyncio
import math
import time
import warnings
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import config
from .core.chunking import LINGER, Gatherer
from .core.retry import NOT_READY, POLL
from .core.session import Progress
from .core.validation import Parcel
from .errors import DeadlineExceeded, HangtagError
from .model import ModelMetadata, Reply, VersionStatus
from .results import Classification
from .tls import TLS
from .transports.async_runner import AsyncSender, cancel

if TYPE_CHECKING:
    import aiohttp
    import numpy as np
    from grpc import aio


class AsyncClient:
    """As Client, for asyncio: the same arguments, the same calls, awaited. REST needs ``hangtag[aio]``.

    >>> async def main():
    ...     async with AsyncClient("localhost:8500", model="fashion") as client:
    ...         return (await client.classify(images[:2])).labels.tolist()
    >>> asyncio.run(main())
    ['Ankle boot', 'Pullover']

    `channel` is a grpc.aio.Channel and `session` an aiohttp.ClientSession. One client belongs to one event loop, in
    which connections are made on the first call; any number of its tasks may use it.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str = "fashion",
        version: int | None = None,
        version_label: str | None = None,
        signature: str = "serving_default",
        labels: Sequence[str] | None = None,
        language: str = "en",
        timeout: float = 10.0,
        retries: int = 2,
        batch_size: int | None = None,
        concurrency: int = 4,
        tls: TLS | None = None,
        headers: Mapping[str, str] | None = None,
        gzip_above: int | None = None,
        channel: aio.Channel | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._settings, self._conversation = config.check(
            target,
            model=model,
            version=version,
            version_label=version_label,
            signature=signature,
            labels=labels,
            language=language,
            timeout=timeout,
            retries=retries,
            batch_size=batch_size,
            concurrency=concurrency,
            tls=tls,
            headers=headers,
            gzip_above=gzip_above,
            channel=channel,
            session=session,
        )
        self._sender = AsyncSender(self._settings)

    # ---- the calls

    async def classify(
        self, images: Any, *, prepare: str | None = None, progress: Progress | None = None
    ) -> Classification:
        """As Client.classify.

        >>> asyncio.run(with_client(lambda client: client.classify(images[0])))[0].label
        'Ankle boot'
        """
        return await self._sender.run(self._conversation.classify(images, prepare, progress))

    async def classify_stream(
        self, items: Iterable[Any] | AsyncIterable[Any], *, prepare: str | None = None
    ) -> AsyncIterator[Classification]:
        """As Client.classify_stream; `items` may be an asynchronous iterable too.

        >>> async def names(client):
        ...     return [result[0].label async for result in client.classify_stream(images[:3])]
        >>> asyncio.run(with_client(names))
        ['Ankle boot', 'Pullover', 'Trouser']
        """
        gatherer = Gatherer(self._conversation, prepare)
        waiting: deque[tuple[Parcel, list[asyncio.Task[Reply]]]] = deque()

        async def gathered() -> AsyncIterator[tuple[list[Parcel], bool]]:
            asked = time.monotonic()
            try:
                async for item in _each(items):
                    slow = time.monotonic() - asked > LINGER
                    full = await self._sender.run(gatherer.put(item))
                    yield (full + gatherer.flush() if slow else full), slow
                    asked = time.monotonic()
            except Exception:
                yield gatherer.flush(), True
                raise
            yield gatherer.flush(), True

        async def cancel_all() -> None:
            await cancel([task for _, tasks in waiting for task in tasks])

        async def receive() -> AsyncIterator[Classification]:
            parcel, tasks = waiting[0]
            replies: list[Reply] = []
            try:
                for task in tasks:
                    replies.append(await task)
            except HangtagError:
                await cancel_all()
                whole = parcel.begin(len(replies))
                if whole.items:
                    for result in await self._sender.run(self._conversation.settle(whole, replies)):
                        yield result
                raise
            waiting.popleft()
            for result in await self._sender.run(self._conversation.settle(parcel, replies)):
                yield result

        try:
            async for parcels, wanted in gathered():
                for parcel in parcels:
                    waiting.append((parcel, self._sender.submit(self._conversation.calls(parcel))))
                while waiting and (
                    wanted
                    or sum(len(tasks) for _, tasks in waiting) > 2 * self._settings.concurrency
                    or all(task.done() for task in waiting[0][1])
                ):
                    async for result in receive():
                        yield result
        finally:
            await cancel_all()

    async def predict(self, inputs: Mapping[str, Any], *, signature: str | None = None) -> dict[str, np.ndarray]:
        """As Client.predict.

        >>> call = lambda client: client.predict({"index": [9]}, signature="labels")
        >>> asyncio.run(with_client(call))["class_name"].tolist()
        [b'Ankle boot']
        """
        return await self._sender.run(self._conversation.predict(inputs, signature))

    async def labels(self) -> list[str]:
        """As Client.labels.

        >>> asyncio.run(with_client(lambda client: client.labels()))[:2]
        ['T-shirt/top', 'Trouser']
        """
        return list(await self._sender.run(self._conversation.class_names()))

    async def status(self) -> tuple[VersionStatus, ...]:
        """As Client.status.

        >>> asyncio.run(with_client(lambda client: client.status()))[0].state
        'AVAILABLE'
        """
        return await self._sender.run(self._conversation.status())

    async def metadata(self) -> ModelMetadata:
        """As Client.metadata.

        >>> asyncio.run(with_client(lambda client: client.metadata())).name
        'fashion'
        """
        return await self._sender.run(self._conversation.metadata())

    async def ready(self) -> bool:
        """As Client.ready.

        >>> asyncio.run(with_client(lambda client: client.ready()))
        True
        """
        try:
            await self._sender.run(self._conversation.metadata(), retries=0)
        except NOT_READY:
            return False
        return True

    async def wait_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """As Client.wait_ready.

        >>> asyncio.run(with_client(lambda client: client.wait_ready(30))).version
        1
        """
        end = time.monotonic() + config.check_seconds(timeout, least=-math.inf)  # with no time left it looks once
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                return await self._sender.run(
                    self._conversation.metadata(), min(left, self._settings.timeout), retries=0
                )
            except NOT_READY as error:
                if time.monotonic() + POLL >= end:
                    spec = self._conversation.spec
                    raise DeadlineExceeded(f"{spec} is not ready after {timeout:g} s: {error}") from error
            await asyncio.sleep(POLL)

    # ---- the ending

    async def close(self) -> None:
        """Free the connections. Closing twice does nothing.

        >>> asyncio.run(with_client(lambda client: client.close()))
        """
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        sender: AsyncSender | None = getattr(self, "_sender", None)  # there is none after a refused argument
        if sender is not None and sender.opened:
            warnings.warn(f"{self!r} was left open: use `async with`, or await close()", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._conversation.spec} at {self._settings.target}>"


async def _each(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
