"""The event loop that an asynchronous transport belongs to: its connections are of no use in another."""

from __future__ import annotations

import asyncio

from ..errors import InvalidInput


class OwnLoop:
    """The loop that runs now. Made by a transport as it is made, asked before each call."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def check(self) -> None:
        """Raises InvalidInput in any other loop; grpc.aio and aiohttp raise RuntimeError, or never return."""
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidInput("an AsyncClient belongs to the event loop of its first call: make one in each loop")
