"""Chooses between two ways to do the same work by measuring their speed."""

from __future__ import annotations

from collections.abc import Callable

_JOBS, _SECONDS = 16, 0.25  # the least for one measurement
_SETTLING_JOBS = 4  # ignored after a switch, because jobs of the other way still run
_MIN_ROUNDS, _MAX_ROUNDS = 8, 64  # measurements of the better way before the other is tried again; doubled each time
_BETTER = 1.05  # how many times faster the other way must be, to ignore noise


class MeasuredChoice:
    """Finds which of two ways does more work per second. For one thread.

    >>> now = 0.0
    >>> choice = MeasuredChoice(lambda: now)
    >>> for _ in range(200):
    ...     finished = choice.started(100)
    ...     now += 2.0 if choice.first else 1.0
    ...     finished()
    >>> choice.first
    False
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.first = True
        """Whether to use the first way now."""
        self._rates = {True: 0.0, False: 0.0}  # bytes per second
        self._running = self._done = self._bytes = 0
        self._since = self._seconds = 0.0  # time with at least one job
        self._rounds, self._patience = 0, _MIN_ROUNDS
        self._trying = False  # whether the slower way is being tried again

    def started(self, size: int) -> Callable[[], None]:
        """Record the start of a job of `size` bytes; the caller calls the returned function at its end."""
        if not self._running:
            self._since = self._clock()
        self._running += 1

        def finished() -> None:
            now = self._clock()
            self._seconds += now - self._since
            self._since = now
            self._running -= 1
            self._done += 1
            self._bytes += size
            if self._done == _SETTLING_JOBS:
                self._seconds, self._bytes = 0.0, 0
            elif self._done >= _JOBS and self._seconds >= _SECONDS:
                self._decide()

        return finished

    def _decide(self) -> None:
        """End a measurement, and choose the way for the next one."""
        rate, known = self._bytes / self._seconds, self._rates[self.first]
        self._rates[self.first] = (known + rate) / 2 if known else rate
        self._done = self._bytes = 0
        self._seconds = 0.0
        self._rounds += 1
        other = self._rates[not self.first]
        if self._trying:
            self._trying = False
            if rate > other * _BETTER:  # it is the better one now
                self._rounds, self._patience = 0, _MIN_ROUNDS
                return
            self._patience = min(self._patience * 2, _MAX_ROUNDS)
            self._switch()
        elif not other or other > self._rates[self.first] * _BETTER:
            self._switch()
        elif self._rounds >= self._patience:
            self._trying = True
            self._switch()

    def _switch(self) -> None:
        self.first = not self.first
        self._rounds = 0
