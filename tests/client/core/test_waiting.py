"""What wait_ready reports when a server does not become ready."""

from __future__ import annotations

import pytest

from both_clients import opened
from hangtag import DeadlineExceeded
from raw_server import handling
from support import with_more_time


def test_the_reason_for_waiting_in_vain_is_not_that_the_last_try_had_no_time(kind):
    """The first try gets an answer, the second one is cut off by the end of the waiting."""
    tries = []

    def handle(connection):
        connection.recv(65536)
        tries.append(connection)
        if len(tries) == 1:
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.recv(65536)

    def waited(timeout: float) -> bool:
        """Whether there was time for the second try."""
        tries.clear()
        with (
            handling(handle) as target,
            opened(kind, target) as client,
            pytest.raises(DeadlineExceeded, match=f"fashion is not ready after {timeout:g} s: ") as caught,
        ):
            client.wait_ready(timeout)
        assert len(tries) < 2 or " 503" in str(caught.value)
        return len(tries) > 1

    with_more_time(waited, 1)
