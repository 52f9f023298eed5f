"""The gate for tasks, apart from `pressure`: asyncio takes longer to import than all of this package."""

from __future__ import annotations

import asyncio

from ..core.concurrency import Pressure


class AsyncGate:
    """For tasks of one event loop."""

    def __init__(self) -> None:
        self._pressure = Pressure()
        self._waiting: list[asyncio.Future[None]] = []

    async def enter(self) -> int:
        """Wait for a place."""
        while self._pressure.full():
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        return self._pressure.began()

    def leave(self, era: int, *, busy: bool) -> None:
        """Give the place back."""
        self._pressure.ended(era, busy=busy)
        waiting, self._waiting = self._waiting, []
        for place in waiting:  # all of them look again: one that was cancelled meanwhile must not hold up the others
            if not place.done():
                place.set_result(None)
