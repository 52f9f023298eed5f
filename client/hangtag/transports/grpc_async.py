"""Bytes over one grpc.aio channel, which belongs to the event loop it was made in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config import Settings
from ..core.steps import Exchange
from ..errors import InvalidInput
from .event_loop import OwnLoop
from .grpc import call_metadata, explain, open_channel


class AsyncGrpcTransport:
    """One channel, shared by all tasks. Made inside the running loop: a channel made outside of it fails."""

    def __init__(self, settings: Settings) -> None:
        from grpc import aio

        self._rpc_error: type[Exception] = aio.AioRpcError
        self._loop = OwnLoop()
        self._target = settings.target
        self._metadata = call_metadata(settings)
        self._channel = open_channel(settings, aio)
        self._owned = settings.channel is None
        self._methods: dict[str, Callable[..., Any]] = {}

    async def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        self._loop.check()
        method = self._methods.get(exchange.path)
        if method is None:
            method = self._methods[exchange.path] = self._channel.unary_unary(exchange.path)
        try:
            body: bytes = await method(exchange.body, timeout=timeout, metadata=self._metadata)
        except self._rpc_error as error:
            raise explain(error, self._target) from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"the call cannot be made: {error}") from error
        return body

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._owned:
            await self._channel.close()
