"""HTTP connections with a deadline for every step: DNS, connecting, proxy tunnel, TLS, and each read."""

from __future__ import annotations

import errno
import http.client
import select
import socket
import ssl
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

from ..core.retry import Deadline
from ..errors import InvalidInput
from .http_route import Route


class _Socket(socket.socket):
    """A socket whose reads end at a point in time. A socket's own timeout would start anew with each read."""

    end: float | None = 0.0
    """The deadline by `time.monotonic`. None means that a read does not wait."""

    def recv_into(self, *arguments: Any) -> int:
        left = 0.0 if self.end is None else self.end - time.monotonic()
        if left < 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(*arguments)


class _TLSSocket(ssl.SSLSocket):
    """The same with TLS. Its sends need it too: `sendall` sends in pieces, each with the socket's own timeout."""

    end: float | None = 0.0

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(_left(self.end))
        try:
            return super().recv_into(*arguments)
        except ssl.SSLWantReadError as error:
            raise BlockingIOError(errno.EAGAIN, "nothing to read") from error

    def send(self, *arguments: Any) -> int:
        self.settimeout(_left(self.end))
        return super().send(*arguments)


def _left(end: float | None) -> float:
    """Seconds until `end`; raises TimeoutError after it."""
    if end is None:
        return 0.0
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Connection(http.client.HTTPConnection):
    """A connection on a route; the constructor connects. `readable` polls its socket."""

    sock: Any

    def __init__(self, route: Route, deadline: Deadline) -> None:
        super().__init__(route.host, route.port)
        self.route = route
        self.sock = _connect(route.host, route.port, deadline)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.end = deadline.end
            self.sock.settimeout(deadline.remaining())
            if route.tunnel:
                self._open_tunnel(route)
            if route.context is not None:
                route.context.sslsocket_class = _TLSSocket
                self.sock = route.context.wrap_socket(self.sock, server_hostname=route.server_name)
        except BaseException:
            self.sock.close()
            raise
        self.readable = _Readable(self.sock) if not hasattr(select, "poll") else select.poll()
        self.readable.register(self.sock, getattr(select, "POLLIN", 1))

    def _open_tunnel(self, route: Route) -> None:
        self.sock.sendall(route.tunnel)
        with http.client.HTTPResponse(self.sock, method="CONNECT") as response:
            response.begin()
            if response.status != 200:
                raise ConnectionError(f"the proxy answers HTTP {response.status} to CONNECT")


class _Readable:
    """A replacement for `select.poll` on Windows, where `select` accepts any file number."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def register(self, sock: socket.socket, events: int) -> None:
        """Do nothing: the constructor has the socket."""

    def poll(self, timeout: int) -> list[Any]:
        """Whether there is something to read."""
        return select.select([self._sock], [], [], timeout)[0]


def _connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address that accepts one. Each attempt gets an equal share of the remaining time."""
    addresses = _look_up(host, port, deadline)
    for left in range(len(addresses), 0, -1):
        family, kind, protocol, _, address = addresses[-left]
        sock = None
        try:
            sock = _Socket(family, kind, protocol)
            sock.settimeout(deadline.remaining() / left)
            sock.connect(address)
            return sock
        except BaseException as error:
            if sock is not None:
                sock.close()
            if left == 1 or not isinstance(error, OSError):
                raise
    raise ConnectionError(f"{host} has no address")


def _look_up(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a name. The system's resolver has no timeout, so a thread waits for it."""
    outcome: SimpleQueue[Any] = SimpleQueue()

    def look_up() -> None:
        try:
            outcome.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=look_up, daemon=True, name="hangtag-dns").start()
    try:
        result = outcome.get(timeout=deadline.remaining())
    except Empty:
        raise TimeoutError from None
    if isinstance(result, UnicodeError):
        raise InvalidInput(f"{host} is not a valid host name") from result
    if isinstance(result, Exception):
        raise result
    addresses: list[Any] = result
    return addresses
