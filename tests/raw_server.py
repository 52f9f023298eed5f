"""A server of given bytes: what no real server would send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def handling(handle: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that calls `handle` with each connection, in a thread, and closes it then; yields its address."""

    def serve_one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(60)
            handle(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering(answer: bytes, closed: Callable[[], object] = lambda: None) -> Iterator[str]:
    """A server that sends these bytes in response to every request, one on each connection, which then ends."""

    def handle(connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            connection.sendall(answer)
        finally:
            connection.close()
            closed()

    with handling(handle) as address:
        yield address
