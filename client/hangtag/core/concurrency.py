"""How many calls may be under way at once, learnt from a server that says it is busy.

The C++ server refuses a call at once when all its threads are taken (`Server Threadpool Exhausted`), so coming back
later is only half the answer: fewer must come. Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP
does it: a refusal halves what is under way, each answer lets in a little more.
"""

from __future__ import annotations

import math
import threading

_FORGOTTEN = 256.0  # calls under way at which the limit is no limit any more


class Pressure:
    """The pure part. No limit until the server refuses for load."""

    def __init__(self) -> None:
        self.limit = math.inf
        self.running = 0
        self._era = 0  # one burst of refusals halves the limit once: only calls begun since the last halving count

    def full(self) -> bool:
        """Whether a new call has to wait."""
        return self.running >= self.limit

    def began(self) -> int:
        """Count a call in; returns what `ended` wants to know of it."""
        self.running += 1
        return self._era

    def ended(self, era: int, *, busy: bool) -> None:
        """Count a call out; `busy` says that the server refused it for load."""
        if busy and era == self._era:
            self.limit = max(1.0, self.running // 2)
            self._era += 1
        elif not busy and self.limit < math.inf:
            self.limit += 1 / self.limit
            if self.limit > _FORGOTTEN:
                self.limit = math.inf
        self.running -= 1


class Gate:
    """For threads."""

    def __init__(self) -> None:
        self._pressure = Pressure()
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)

    def enter(self, timeout: float) -> int | None:
        """Wait for a place, at most `timeout` seconds; None when none came free."""
        with self._lock:
            if self._pressure.full() and not self._free.wait_for(lambda: not self._pressure.full(), timeout):
                return None
            return self._pressure.began()

    def leave(self, era: int, *, busy: bool) -> None:
        """Give the place back."""
        with self._lock:
            self._pressure.ended(era, busy=busy)
            if self._pressure.limit < math.inf:
                self._free.notify_all()
