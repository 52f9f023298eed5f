"""How long a call may take and when it is tried again. Pure: the clients do the sleeping."""

from __future__ import annotations

import logging
import random
import time

from ..errors import DeadlineExceeded, HangtagError, ModelNotFound, ServerBusy, ServerUnavailable
from ..target import Target

log = logging.getLogger("hangtag")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0

RETRYABLE = (ServerUnavailable, ServerBusy)
"""What may go better the next time; a predict changes nothing on the server, so sending it again is safe."""

NOT_READY = (*RETRYABLE, ModelNotFound, DeadlineExceeded)
"""What a server says, or leaves unsaid, that may yet become ready."""

POLL = 0.1
"""Seconds between two looks of wait_ready."""


class Late(DeadlineExceeded):
    """The time ran out within an attempt, says its transport; `Failures` adds how much the whole call was given."""

    def __init__(self, target: Target) -> None:
        super().__init__(f"no complete answer from {target}")


class Deadline:
    """A point in time that a whole call, with all its chunks and retries, must not pass."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds left, more than 0; raises DeadlineExceeded when there are none."""
        left = self.left()
        if left <= 0:
            raise self.exceeded()
        return left

    def left(self) -> float:
        """Seconds left, less than 0 when the time is up."""
        return self._end - time.monotonic()

    def exceeded(self, last: Exception | None = None, words: str = "no complete answer") -> DeadlineExceeded:
        """The error to raise when the time is up; `last` is what went wrong before that."""
        before = "" if last is None else f"; before that: {last}"
        return DeadlineExceeded(f"{words} within the timeout of {self.timeout:g} s{before}")


class Failures:
    """What went wrong so far with one request, and whether it is worth another attempt."""

    def __init__(self, path: str, retries: int, deadline: Deadline) -> None:
        self._path, self._retries, self._deadline = path, retries, deadline
        self._attempts = 0
        self._last: HangtagError | None = None

    def pause(self, error: HangtagError) -> float:
        """Seconds to wait before the next attempt; raises `error`, if there is to be none.

        Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): uniform between 0 and an
        exponentially growing bound, so that clients which failed together do not come back together.
        """
        self._attempts += 1
        if isinstance(error, Late):
            raise self._deadline.exceeded(self._last, str(error)) from error
        if isinstance(error, DeadlineExceeded) and self._last is not None:
            raise self._deadline.exceeded(self._last) from error
        if not isinstance(error, RETRYABLE) or self._attempts > self._retries:
            raise error
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._attempts))
        if pause >= self._deadline.left():
            raise error
        log.info("attempt %d at %s failed, again in %.3f s: %s", self._attempts, self._path, pause, error)
        self._last = error
        return pause
