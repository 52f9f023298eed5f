"""Both clients behind one surface, so that one test holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hangtag import AsyncClient, Client


class Waiting:
    """An AsyncClient whose calls are waited for, in an event loop that runs only during them."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner, self._client = runner, client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(_awaited(method, args, options))

    def classify_stream(self, items: Iterable[Any], **options: Any) -> Iterator[Any]:
        stream = self._client.classify_stream(items, **options)
        try:
            while True:
                try:
                    yield self._runner.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(_ended(stream))


async def _awaited(method: Any, args: tuple, options: dict) -> Any:
    return await method(*args, **options)


async def _next(stream: Any) -> Any:
    return await anext(stream)


async def _ended(stream: Any) -> None:
    await stream.aclose()


@contextmanager
def opened(kind: str, target: str, **options: Any) -> Iterator[Any]:
    """A client of `kind` "sync" or "async"."""
    if kind == "sync":
        with Client(target, **options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        client = AsyncClient(target, **options)
        try:
            yield Waiting(runner, client)
        finally:
            runner.run(client.close())
