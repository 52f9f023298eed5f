"""Deadlines, retries, and the limit of concurrent calls. The runners do the waiting."""

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
_LONGEST_PAUSE = 8.0  # seconds
_LONGEST_PAUSE_BUSY = 2.0  # seconds; shorter, because a busy server is alive and will soon take calls again

NOT_READY = (ServerUnavailable, ServerBusy, ModelNotFound, DeadlineExceeded)
"""The errors of a server that is not ready yet."""

POLL = 0.1
"""Seconds between two attempts of wait_ready."""


class Deadline(NamedTuple):
    """The end (by `time.monotonic`) of a whole call, including all its chunks and retries."""

    end: float
    timeout: float  # seconds, for the error

    def remaining(self) -> float:
        """Seconds left, more than 0; raises DeadlineExceeded if the time is up."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, what: str = "no complete answer") -> DeadlineExceeded:
        """The error to raise when the time is up."""
        return DeadlineExceeded(f"{what} within the timeout of {round(self.timeout, 3):g} s")


class Attempts:
    """The failed attempts of one request, and whether it is sent again."""

    def __init__(self, path: str, retries: int, deadline: Deadline) -> None:
        self._path, self._retries, self._deadline = path, retries, deadline
        self._failed = self._refused = 0
        self._last: HangtagError | None = None

    def pause(self, error: HangtagError) -> float:
        """Seconds to wait before the next attempt; raises an error if there is none.

        A request that a busy server refused is sent again until the deadline; after other failures, `retries` times.
        The pause has equal jitter: it is between half and all of an exponentially growing bound. So clients that failed
        together do not return together. Ten retries take 18 seconds or more, longer than a server takes to restart.
        Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
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
        log.info("attempt %d at %s failed, next attempt in %.3f s: %s", number, self._path, pause, error)
        self._last = error
        return pause


class ConcurrencyLimit:
    """How many calls may run at once; it adapts to a server that refuses calls because of load.

    The C++ server refuses a call immediately while all its threads are busy (`Server Threadpool Exhausted`). Pauses
    alone do not help then: the client must also run fewer calls at once. As in TCP, the limit grows by addition and
    shrinks by multiplication (Chiu and Jain, 1989): a refusal halves the number of running calls, and each response
    raises the limit a little. There is no limit before the first refusal; a call then only adds to a set.
    """

    REMOVED = 256.0
    """A limit that grows above this number is removed."""

    def __init__(self) -> None:
        self.limit = math.inf
        self.limited = False  # whether there is a limit
        self.running: set[int] = set()  # ids of the running requests; adding and discarding are atomic
        self._halved = 0.0  # when the limit was last halved: refusals of calls that began earlier do not halve it again
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
        """Record the end of a call that began at the time `began`; `busy`: the server refused it because of load."""
        with self._changed:
            if busy:
                if began >= self._halved:
                    self.limit, self.limited = max(1.0, (len(self.running) + 1) // 2), True
                    self._halved = time.monotonic()
            elif self.limited:
                self.limit += 1 / self.limit
                if self.limit > self.REMOVED:
                    self.limit, self.limited = math.inf, False
            self._changed.notify_all()


class Waiting:
    """The attempts of one wait_ready: `seconds` for all of them, and at most `each` for one."""

    def __init__(self, seconds: float, each: float) -> None:
        self._end, self._total, self._each = time.monotonic() + seconds, seconds, each
        self._reason: HangtagError | None = None

    def seconds(self) -> float:
        """The timeout of the next attempt. It is never 0, so that even a timeout of 0 makes one attempt."""
        return min(max(self._end - time.monotonic(), 0.001), self._each)

    def failed(self, model: object, error: HangtagError) -> None:
        """Raise DeadlineExceeded if there is no time for another attempt."""
        if self._reason is None or not isinstance(error, DeadlineExceeded):  # the last attempt may have had no time
            self._reason = error
        if time.monotonic() + POLL >= self._end:
            message = f"{model} is not ready after {self._total:g} s: {self._reason}"
            raise DeadlineExceeded(message) from self._reason
