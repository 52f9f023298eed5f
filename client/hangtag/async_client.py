"""The asyncio client: the same methods as Client's, awaited."""

from __future__ import annotations

import asyncio
import math
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from .config.options import Options, check_seconds, takes
from .core.calls import Progress
from .core.retry import NOT_READY, POLL, Waiting
from .core.session import Session
from .core.streaming import stream
from .model import ModelMetadata, VersionStatus
from .results import Classification
from .transports.async_runner import AsyncRunner

if TYPE_CHECKING:
    import numpy as np


class AsyncClient:
    """As Client, for asyncio: the same arguments and methods. REST needs ``hangtag[aio]``.

    >>> async def main():
    ...     async with AsyncClient("localhost:8500", model="fashion") as client:
    ...         return (await client.classify(images[:2])).labels.tolist()
    >>> asyncio.run(main())
    ['Ankle boot', 'Pullover']

    `channel` is a grpc.aio.Channel and `session` an aiohttp.ClientSession. A client belongs to the event loop of its
    first call, which makes the connections; any number of that loop's tasks may use it.
    """

    @takes(Options)
    def __init__(self, options: Options) -> None:
        self._options = options
        self._session = Session(options)
        self._runner = AsyncRunner(options)

    # ---- the calls

    async def classify(
        self, images: Any, *, prepare: str | None = None, progress: Progress | None = None, key: str | None = None
    ) -> Classification:
        """As Client.classify.

        >>> asyncio.run(with_client(lambda client: client.classify(images[0])))[0].label
        'Ankle boot'
        """
        return await self._runner.run(self._session.classify(images, prepare, progress, key))

    async def classify_stream(
        self, items: Iterable[Any] | AsyncIterable[Any], *, prepare: str | None = None, key: str | None = None
    ) -> AsyncIterator[Classification]:
        """As Client.classify_stream; `items` may be an asynchronous iterable too.

        >>> async def names(client):
        ...     return [result[0].label async for result in client.classify_stream(images[:3])]
        >>> asyncio.run(with_client(names))
        ['Ankle boot', 'Pullover', 'Trouser']
        """
        steps = stream(self._session, prepare, key, self._options.concurrency)
        async with aclosing(self._runner.stream(steps, items)) as results:
            async for result in results:
                yield result

    async def predict(
        self, inputs: Mapping[str, Any], *, signature: str | None = None, key: str | None = None
    ) -> dict[str, np.ndarray]:
        """As Client.predict.

        >>> call = lambda client: client.predict({"index": [9]}, signature="labels")
        >>> asyncio.run(with_client(call))["class_name"].tolist()
        [b'Ankle boot']
        """
        return await self._runner.run(self._session.predict(inputs, signature, key))

    async def labels(self) -> list[str]:
        """As Client.labels.

        >>> asyncio.run(with_client(lambda client: client.labels()))[:2]
        ['T-shirt/top', 'Trouser']
        """
        return list(await self._runner.run(self._session.class_names()))

    async def status(self) -> tuple[VersionStatus, ...]:
        """As Client.status.

        >>> asyncio.run(with_client(lambda client: client.status()))[0].state
        'AVAILABLE'
        """
        return await self._runner.run(self._session.status())

    async def metadata(self) -> ModelMetadata:
        """As Client.metadata.

        >>> asyncio.run(with_client(lambda client: client.metadata())).name
        'fashion'
        """
        return await self._runner.run(self._session.metadata())

    async def ready(self) -> bool:
        """As Client.ready.

        >>> asyncio.run(with_client(lambda client: client.ready()))
        True
        """
        try:
            await self._runner.run(self._session.ready(), retries=0)
        except NOT_READY:
            return False
        return True

    async def wait_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """As Client.wait_ready.

        >>> asyncio.run(with_client(lambda client: client.wait_ready(30))).version
        1
        """
        waiting = Waiting(check_seconds(timeout, least=-math.inf), self._options.timeout)
        while True:
            try:
                return await self._runner.run(self._session.ready(), waiting.seconds(), retries=0)
            except NOT_READY as error:
                waiting.failed(self._session.spec, error)
            await asyncio.sleep(POLL)

    # ---- closing

    async def close(self) -> None:
        """Free the connections. Closing twice does nothing.

        >>> asyncio.run(with_client(lambda client: client.close()))
        """
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        runner: AsyncRunner | None = getattr(self, "_runner", None)  # missing if the constructor raised
        if runner is not None and runner.opened:
            warnings.warn(f"{self!r} was not closed: use `async with`, or await close()", ResourceWarning, stacklevel=2)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds connections and cannot be pickled: create one in each process")

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._session.spec} at {self._options.server}>"
