"""How long a call may take and when it is tried again. Pure: the clients do the sleeping."""

from __future__ import annotations

import random
import time

from .errors import DeadlineExceeded, HangtagError, ModelNotFound, ServerBusy, ServerUnavailable

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0

RETRYABLE = (ServerUnavailable, ServerBusy)
"""What may go better the next time; a predict changes nothing on the server, so sending it again is safe."""

NOT_READY = (*RETRYABLE, ModelNotFound, DeadlineExceeded)
"""What a server says, or leaves unsaid, that may yet become ready."""

POLL = 0.1
"""Seconds between two looks of wait_ready."""


class Deadline:
    """A point in time that a whole call, with all its chunks and retries, must not pass."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds left, more than 0; raises DeadlineExceeded when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, last: Exception | None = None) -> DeadlineExceeded:
        """The error to raise when the time is up; `last` is what went wrong before that."""
        before = "" if last is None else f"; before that: {last}"
        return DeadlineExceeded(f"no complete answer within the timeout of {self.timeout:g} s{before}")


def pause_before_retry(error: HangtagError, attempt: int, retries: int, deadline: Deadline) -> float:
    """Seconds to wait before attempt number `attempt` + 1, or raise `error` if it is not to be tried again.

    Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): uniform between 0 and an
    exponentially growing bound, so that clients which failed together do not come back together.
    """
    if not isinstance(error, RETRYABLE) or attempt > retries:
        raise error
    pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
    try:
        left = deadline.remaining()
    except DeadlineExceeded:
        raise error from None
    if pause >= left:
        raise error
    return pause
