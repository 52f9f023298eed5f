"""Bytes over kept-alive HTTP/1.1 connections: sockets and http.client's reader, at a third of what requests costs."""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from ..config import Settings
from ..core.failures import from_http, no_answer
from ..core.retry import Late
from ..core.steps import Exchange
from ..errors import BadResponse, InvalidInput
from ..tls import TLS
from .http import request_parts


class HttpTransport:
    """A connection for each call that is under way, kept for the next one. May be used from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._target = settings.target
        parts = urlsplit(settings.target.address)
        if not parts.path.isprintable() or " " in parts.path:
            raise InvalidInput(f"the call cannot be made: {settings.target} has characters that no URL can have")
        self._prefix = parts.path
        self._place = (parts.hostname or "", parts.port or (443 if settings.target.secure else 80))
        self._context = (settings.tls or TLS()).context() if settings.target.secure else None
        usual = {"Host": parts.netloc, "Accept-Encoding": "identity"}  # nothing here inflates an answer
        given = {name.lower() for name, _ in settings.headers}
        self._usual = "".join([f"{name}: {value}\r\n" for name, value in usual.items() if name.lower() not in given])
        self._idle: list[socket.socket] = []  # its append and pop are atomic
        self._most_idle = max(settings.concurrency, 10)
        self._closed = False

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        end = time.monotonic() + timeout
        headers, body = request_parts(self._settings, exchange)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        size = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{exchange.verb} {self._prefix}{exchange.path} HTTP/1.1\r\n{self._usual}{lines}{size}\r\n".encode()
        sock = None
        try:
            sock = self._take() or self._connect(end)
            sock.settimeout(max(end - time.monotonic(), 1e-6))
            _write(sock, head, body or b"")
            with http.client.HTTPResponse(_Limited(sock, end), method=exchange.verb) as answer:  # type: ignore[arg-type]
                content, status, kept = self._read(answer)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError):
                raise Late(self._target) from error
            if isinstance(error, http.client.HTTPException | OSError):
                raise no_answer(str(self._target), str(error) or type(error).__name__) from error
            raise
        if kept and len(self._idle) < self._most_idle:
            self._idle.append(sock)
            if self._closed:
                self.close()
        else:
            sock.close()
        if status == 200 and not content:  # cut off within its headers, which http.client does not mind
            raise no_answer(str(self._target), "the answer broke off")
        if status != 200:
            raise from_http(status, content, str(self._target))
        return content

    def _take(self) -> socket.socket | None:
        """A connection from an earlier call that is still open, or None."""
        while True:
            try:
                sock = self._idle.pop()
            except IndexError:
                return None
            if not _readable(sock):
                return sock
            sock.close()  # the server has closed it meanwhile: what can be read is its end

    def _read(self, answer: http.client.HTTPResponse) -> tuple[bytes, int, bool]:
        """Body, status, and whether the connection may be kept."""
        try:
            answer.begin()
            return answer.read(), answer.status, not answer.will_close
        except (ArithmeticError, MemoryError, ValueError) as error:  # a length that is none, or of a trillion bytes
            words = str(error) or type(error).__name__
            raise BadResponse(f"the answer of {self._target} has a length that cannot be: {words}") from error

    def _connect(self, end: float) -> socket.socket:
        sock = _reach(self._place, end)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return sock
            sock.settimeout(max(end - time.monotonic(), 1e-6))
            return self._context.wrap_socket(sock, server_hostname=self._place[0])
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close all connections; those of calls under way when they have their answer."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was faster
                return


class _Limited(io.RawIOBase):
    """Reads a socket up to a point in time, however slowly its bytes come; a socket's own timeout is for each read."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock, self._end = sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What HTTPResponse wants of a socket."""
        return io.BufferedReader(self)


def _reach(place: tuple[str, int], end: float) -> socket.socket:
    """A connection to the first address that takes one; those that are left share the time that is left."""
    try:
        addresses = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise InvalidInput(f"{place[0]} is no name that a host can have") from error
    for left in range(len(addresses), 0, -1):
        family, kind, protocol, _, address = addresses[-left]
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(max((end - time.monotonic()) / left, 1e-6))
            sock.connect(address)
            return sock
        except BaseException as error:
            if sock is not None:
                sock.close()
            if left == 1 or not isinstance(error, OSError):
                raise
    raise ConnectionError(f"{place[0]} has no address")


def _write(sock: socket.socket, head: bytes, body: bytes | bytearray) -> None:
    """Both in one go where the system can: two packets would wake the server twice."""
    if not body:
        sock.sendall(head)
    elif hasattr(sock, "sendmsg") and not hasattr(sock, "pending"):  # TLS has no sendmsg
        sent = sock.sendmsg([head, body]) - len(head)
        if sent < len(body):
            sock.sendall(head[sent:] if sent < 0 else b"")
            sock.sendall(memoryview(body)[max(sent, 0) :])
    else:
        sock.sendall(head)
        sock.sendall(body)


def _readable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows, whose select knows no limit of file numbers
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
