"""What wait_ready reports when a server does not become ready."""

from __future__ import annotations

import pytest

from both_clients import opened
from hangtag import DeadlineExceeded
from raw_server import handling


def test_the_reason_for_waiting_in_vain_is_not_that_the_last_try_had_no_time(kind):
    """The first try gets an answer, the second one is cut off by the end of the waiting."""
    tries = iter([b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"])

    def handle(connection):
        connection.recv(65536)
        connection.sendall(next(tries, b""))
        connection.recv(65536)

    message = r"fashion is not ready after 1 s: .*503"
    with handling(handle) as target, opened(kind, target) as client, pytest.raises(DeadlineExceeded, match=message):
        client.wait_ready(1)
