"""How long a call may take, when it is tried again, and how many calls may run at once. The runners do the waiting."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from typing import NamedTuple

from ..errors import DeadlineExceeded, HangtagError, ModelNotFound, ServerBusy, ServerUnavailable

log = logging.getLogger("hangtag")

_FIRST_PAUSE = 0.05  # seconds
_LONGEST_PAUSE = 4.0  # seconds
_LONGEST_PAUSE_BUSY = 2.0  # seconds; a server that refuses for load is there, and is asked until the deadline

NOT_READY = (ServerUnavailable, ServerBusy, ModelNotFound, DeadlineExceeded)
"""The errors of a server that may yet become ready."""

POLL = 0.1
"""Seconds between two attempts of wait_ready."""


class Deadline(NamedTuple):
    """The time (of `time.monotonic`) that a whole call, with all its chunks and retries, must not pass."""

    end: float
    timeout: float  # seconds that the call was given

    def remaining(self) -> float:
        """Seconds left, more than 0; raises DeadlineExceeded when there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, what: str = "no complete answer") -> DeadlineExceeded:
        """The error to raise when the time is up."""
        return DeadlineExceeded(f"{what} within the timeout of {self.timeout:g} s")


class Attempts:
    """What failed so far of one request, and whether it is tried again."""

    def __init__(self, path: str, retries: int, deadline: Deadline) -> None:
        self._path, self._retries, self._deadline = path, retries, deadline
        self._failed = self._refused = 0
        self._last: HangtagError | None = None

    def pause(self, error: HangtagError) -> float:
        """Seconds to wait before the next attempt; raises if there is to be none.

        A refusal for load is tried again until the deadline, every other failure `retries` times. Equal jitter
        (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): between half and all of an
        exponentially growing bound. So clients which failed together do not come back together, and ten retries take
        more than ten seconds, longer than a server needs to restart.
        """
        if isinstance(error, DeadlineExceeded) and self._last is not None:
            raise DeadlineExceeded(f"{error}; before that: {self._last}", code=error.code) from error
        busy = isinstance(error, ServerBusy)
        self._refused += busy
        self._failed += not busy
        if not error.retryable or self._failed > self._retries:
            raise error
        number = self._failed + self._refused
        bound = min(_LONGEST_PAUSE_BUSY if busy else _LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(number, 10))
        pause = random.uniform(bound / 2, bound)
        if pause >= self._deadline.end - time.monotonic():
            raise error
        log.info("attempt %d at %s failed, again in %.3f s: %s", number, self._path, pause, error)
        self._last = error
        return pause


class ConcurrencyLimit:
    """How many calls may be under way at once, learnt from a server that refuses calls for load.

    The C++ server refuses a call at once when all its threads are taken (`Server Threadpool Exhausted`), so waiting is
    only half of the answer: fewer calls must come. Additive increase, multiplicative decrease (Chiu and Jain, 1989), as
    in TCP: a refusal halves what is under way, each response raises the limit a little. Until the first refusal there
    is no limit, and then a call costs one addition to a set.
    """

    FORGOTTEN = 256.0
    """The limit above which there is none any more."""

    def __init__(self) -> None:
        self.limit = math.inf
        self.limited = False  # whether there is a limit
        self.running: set[int] = set()  # ids of the requests under way; adding and discarding are atomic
        self._halved = 0.0  # one burst of refusals halves the limit once: only calls begun after that count
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def full(self) -> bool:
        """Whether a new call has to wait."""
        return len(self.running) >= self.limit

    def wait(self, deadline: Deadline) -> None:
        """Block this thread until a call may begin; raises DeadlineExceeded."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self.full(), deadline.remaining()):
                raise deadline.exceeded()

    def ended(self, began: float, *, busy: bool) -> None:
        """A call that began at that time (`time.monotonic`) has ended; `busy`: the server refused it for load."""
        with self._changed:
            if busy:
                if began >= self._halved:
                    self.limit, self.limited = max(1.0, (len(self.running) + 1) // 2), True
                    self._halved = time.monotonic()
            elif self.limited:
                self.limit += 1 / self.limit
                if self.limit > self.FORGOTTEN:
                    self.limit, self.limited = math.inf, False
            self._changed.notify_all()


class Waiting:
    """The tries of one wait_ready, which has `seconds` in all and at most `each` for a try."""

    def __init__(self, seconds: float, each: float) -> None:
        self._end, self._total, self._each = time.monotonic() + seconds, seconds, each
        self._reason: HangtagError | None = None

    def seconds(self) -> float:
        """For the next try; with no time left there still is one."""
        return min(max(self._end - time.monotonic(), 0.001), self._each)

    def failed(self, model: object, error: HangtagError) -> None:
        """Raise DeadlineExceeded if there is no time for another try of `model`."""
        if self._reason is None or not isinstance(error, DeadlineExceeded):  # the last try may have had no time
            self._reason = error
        if time.monotonic() + POLL >= self._end:
            message = f"{model} is not ready after {self._total:g} s: {self._reason}"
            raise DeadlineExceeded(message) from self._reason
