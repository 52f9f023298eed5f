"""A TCP proxy before a real server that misbehaves on purpose."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Passes bytes between clients and `upstream`, except for the connections that `fault` says something of.

    `fault` is given the number of the connection, from 0, and returns None, "reset" (as soon as something was asked),
    "cut" (after the first bytes of the answer), "delay" (half a second before the answer) or "dribble" (the answer
    byte by byte).
    """

    upstream: str
    fault: Callable[[int], str | None] = lambda number: None
    connections: int = 0
    closed: bool = False
    _open: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            kind = self.fault(self.connections)
            self.connections += 1
            threading.Thread(target=self._handle, args=(inner, kind), daemon=True).start()

    def _handle(self, inner: socket.socket, kind: str | None) -> None:
        host, port = self.upstream.removeprefix("http://").rsplit(":", 1)
        with inner, suppress(OSError):
            if kind == "reset":
                inner.recv(1)
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            with socket.create_connection((host, int(port))) as outer:
                self._open += [inner, outer]
                if self.closed:
                    return
                forward = threading.Thread(target=_pump, args=(inner, outer), daemon=True)
                forward.start()
                _pump(outer, inner, kind)
                forward.join()

    def close(self) -> None:
        """Cut all connections; each is closed by its own thread."""
        self.closed = True
        for opened in self._open:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket, kind: str | None = None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if kind == "cut":
                sink.sendall(data[: len(data) // 2])
                break
            if kind == "delay":
                time.sleep(0.2)
            if kind == "dribble":
                for place in range(len(data)):
                    sink.sendall(data[place : place + 1])
                    time.sleep(0.05)
            else:
                sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(upstream: str, fault: Callable[[int], str | None] = lambda number: None) -> Iterator[tuple[Proxy, str]]:
    """A proxy on a free port, and the target to reach it by."""
    passing = Proxy(upstream, fault)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=passing.serve, args=(listener,), daemon=True).start()
        scheme = "http://" if upstream.startswith("http://") else ""
        try:
            yield passing, f"{scheme}127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            passing.close()
