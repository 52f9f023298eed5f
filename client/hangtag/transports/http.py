"""Sends requests over persistent HTTP/1.1 connections with the standard library's http.client.

Every step of a call ends at its deadline, and no response is read beyond the limit of its request. A connection is used
again only after a complete final response (RFC 9112, section 9.3). After an error or surplus bytes, the next call could
otherwise receive a response that is not its own.
"""

from __future__ import annotations

import gzip
import http.client
import time
import zlib
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from ..config.options import Options
from ..core.retry import Deadline
from ..errors import BROKE_OFF, BadResponse, DeadlineExceeded, HangtagError, from_http, no_answer
from ..protocol.request import Request, too_large
from .http_connection import Connection
from .http_route import Route, SessionRoutes, direct_route, unusable

MAX_ERROR = 1 << 16
"""How many bytes of an error's body are read; a server's message is shorter."""

_MAX_INTERIM = 100  # 1xx responses before the final one

Body = bytes | bytearray


class HttpTransport:
    """One connection for each running call; it stays open for the next call. Many threads may use one transport."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._target = str(options.server)
        self._route = direct_route(options)
        host = urlsplit(options.server.address).netloc.rpartition("@")[2]
        self._headers = request_headers(options, {} if self._route is None else {"host": ("Host", host)})
        self._idle: list[Connection] = []  # append and pop are atomic
        self._max_idle = max(options.concurrency, 10)
        self._closed = False

    def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""
        body, headers = request.body, self._headers
        if self._options.gzip_above is not None and len(body) > self._options.gzip_above:
            body, headers = gzip.compress(body, compresslevel=1), {**headers, "Content-Encoding": "gzip"}
        try:
            if self._route is not None:
                status, content, encoding = self._exchange(self._route, request, request.path, headers, body, deadline)
            else:
                status, content, encoding = self._by_session(request, headers, body, deadline)
        except TimeoutError as error:
            if isinstance(error, DeadlineExceeded):
                raise
            raise deadline.exceeded(f"no complete answer from {self._target}") from error
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, HangtagError):
                raise
            raise no_answer(self._target, _reason(error)) from error
        if status == 200 and content and encoding == "identity":
            return content
        return final_body(status, content, encoding, request, self._target)

    def _exchange(
        self, route: Route, request: Request[Any], path: str, headers: Mapping[str, str], body: Body, deadline: Deadline
    ) -> tuple[int, bytes, str]:
        """Send a request on our own connection; returns status, body and Content-Encoding of the final response."""
        connection = None
        while connection is None and self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if connection.route != route or connection.readable.poll(0):  # readable: closed by the server, or surplus
                connection.close()
                connection = None
        connection = connection or Connection(route, deadline)
        reader: Any = None
        try:
            connection.sock.end = deadline.end
            connection.sock.settimeout(max(deadline.end - time.monotonic(), 1e-6))
            try:
                connection.request(request.method, route.prefix + path, body or None, headers)
            except (ValueError, http.client.InvalidURL):
                raise unusable(self._options.server) from None
            response: Any = connection.getresponse()
            reader = response.fp
            for _ in range(_MAX_INTERIM):
                if response.status >= 200 or response.status == 101:
                    break
                response.headers = None  # so that begin() reads the next response
                response.begin()
            if response.status < 200:
                raise BadResponse(f"{self._target} answers HTTP {response.status} without a final response")
            limit = request.limit if response.status == 200 else MAX_ERROR
            length = response.length or 0
            if response.length is None and not response.chunked:  # the body ends with the connection
                _check_framing(response.headers)
            if length > limit and response.status == 200:
                raise too_large(request.path, limit)
            surplus: bool | None = None  # unknown
            if length and (buffered := len(reader.peek(1))) >= length:  # a small body arrives together with the head
                surplus = buffered > length
            # http.client closes its reader at the end of a response; these keep it open, to look for surplus bytes.
            response.fp = SimpleNamespace(read=reader.read, readline=reader.readline, close=int, flush=int)
            content = response.read(limit + 1)
            complete = response.fp is None
            if not complete and response.length and len(content) <= limit:
                raise ConnectionError(BROKE_OFF)
            if len(content) > limit and response.status == 200:
                raise too_large(request.path, limit)
            if complete and not response.will_close and len(self._idle) < self._max_idle and not self._closed:
                if surplus is None:
                    connection.sock.end = None  # read without waiting
                    surplus = bool(reader.peek(1))
                if not surplus:
                    self._idle.append(connection)
                    connection = None
            return response.status, content, response.headers.get("Content-Encoding", "identity")
        except (ArithmeticError, MemoryError, ValueError) as error:  # a length that is not a number, or far too large
            if isinstance(error, HangtagError):
                raise
            reason = str(error) or type(error).__name__
            raise BadResponse(f"the response of {self._target} has an invalid length: {reason}") from error
        finally:
            if connection is not None:
                connection.close()
                if reader is not None:
                    reader.close()

    @cached_property
    def _routes(self) -> SessionRoutes:
        return SessionRoutes(self._options)

    def _by_session(
        self, request: Request[Any], headers: Mapping[str, str], body: Body, deadline: Deadline
    ) -> tuple[int, bytes, str]:
        """Like `_exchange`, but by the rules of requests: the caller's session and the environment."""
        routes = self._routes
        prepared, settings, own = routes.prepare(request.method, request.path, headers, body or None)
        if own is None:
            return routes.send(prepared, settings, max(request.limit, MAX_ERROR), deadline)
        return self._exchange(own.route, request, own.path, own.headers, own.body or b"", deadline)

    def close(self) -> None:
        """Close all connections; those of running calls are closed after their responses."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                return


def _check_framing(headers: Any) -> None:
    """Raise ValueError for a length that is not a number, or a transfer coding other than chunked."""
    for name in ("Content-Length", "Transfer-Encoding"):
        value = headers.get(name, "identity")
        if value.lower() != "identity":
            raise ValueError(f"{name} {value[:40]!r}")


def _reason(error: Exception) -> str:
    """Why there is no complete response, from an error of http.client or of the system."""
    if isinstance(error, http.client.IncompleteRead):
        return BROKE_OFF
    if isinstance(error, http.client.BadStatusLine | http.client.UnknownProtocol) and not isinstance(error, OSError):
        return f"Bad status line, {str(error).strip()[:80]!r}"
    return str(error) or type(error).__name__


def request_headers(options: Options, more: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> dict[str, str]:
    """The headers of every request. The caller's replace ours, regardless of case."""
    headers = {
        **more,
        "accept-encoding": ("Accept-Encoding", "identity"),
        "content-type": ("Content-Type", "application/json"),
    }
    headers |= {name.lower(): (name, value) for name, value in options.sent_headers}
    return dict(headers.values())


def final_body(status: int, content: bytes, encoding: str, request: Request[Any], where: str) -> bytes:
    """The body of a final response; raises the error of a failed one.

    The body is decompressed if necessary: some proxies compress although the request does not accept it.
    """
    limit = request.limit if status == 200 else MAX_ERROR
    encoding = encoding.strip().lower()
    if encoding not in ("identity", ""):
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib
        try:
            if encoding not in ("gzip", "x-gzip", "deflate"):
                raise BadResponse(f"the response to {request.path} has an unknown Content-Encoding, {encoding[:40]!r}")
            content = inflater.decompress(content, limit + 1)
            if len(content) <= limit and not inflater.eof:
                raise no_answer(where, BROKE_OFF)
        except zlib.error as error:
            raise BadResponse(f"the response to {request.path} cannot be decompressed: {error}") from error
    if status != 200:
        raise from_http(status, content[:MAX_ERROR], where)
    if len(content) > limit:
        raise too_large(request.path, limit)
    if not content:  # the response ended within its headers, which http.client accepts
        raise no_answer(where, BROKE_OFF)
    return content
