"""The pauses between the attempts of one request."""

from __future__ import annotations

import time

import pytest

from hangtag.core.retry import Attempts, Deadline
from hangtag.errors import ServerUnavailable


def test_ten_retries_outlast_the_restart_of_a_server():
    attempts = Attempts("Predict", 10, Deadline(time.monotonic() + 600, 600))
    pauses = [attempts.pause(ServerUnavailable("nothing listens")) for _ in range(10)]
    assert pauses[0] < 0.2  # a server that is away for a moment costs little
    assert sum(pauses) > 18
    with pytest.raises(ServerUnavailable):
        attempts.pause(ServerUnavailable("nothing listens"))


def test_a_pause_that_would_outlast_the_deadline_is_not_made():
    attempts = Attempts("Predict", 10, Deadline(time.monotonic() + 2, 2))
    pauses = iter(lambda: attempts.pause(ServerUnavailable("nothing listens")), 0.0)
    made = []
    with pytest.raises(ServerUnavailable):
        made.extend(pauses)
    assert len(made) < 10
    assert max(made) < 2
