"""Parses HTTP/1.1 requests from the bytes of a connection with httptools' compiled parser, within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import httptools

from ..api.rest_resources import Answer, too_large
from . import limits

if TYPE_CHECKING:
    from .connection import Connection


class Request(NamedTuple):
    """A complete request; the names in `headers` are lower case.

    `keep`: whether the connection stays open. `confirm`: whether the response must say so, as HTTP/1.0 requires.
    `held`: the bytes that count for the server's limit.
    """

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep: bool
    confirm: bool
    held: int


class RequestParser:
    """Passes requests to a connection until one is its last or is refused; what follows is discarded."""

    def __init__(self, connection: Connection, max_body_bytes: int, unknown_method: Callable[[], Answer]) -> None:
        """`unknown_method` answers a request with a method that HTTP does not have."""
        self._connection, self._max_body_bytes, self._unknown_method = connection, max_body_bytes, unknown_method
        self._parser = httptools.HttpRequestParser(self)
        self.begun = self._over = False  # begun: a part of a request has arrived
        self.body_bytes = self.held_bytes = 0  # of the request that is arriving
        self._pieces: list[bytes] = []
        self._silent_bytes = 0  # since the last callback, because httptools itself has no limit for a header
        self._in_head = True

    @property
    def allowed_seconds(self) -> float:
        """The time limit of the request that is arriving, from its beginning."""
        if self._in_head:
            return limits.HEAD_SECONDS
        return limits.HEAD_SECONDS + limits.BODY_SECONDS + self.body_bytes / limits.BODY_BYTES_A_SECOND

    def feed(self, data: bytes) -> None:
        """Parse bytes that have arrived."""
        while not self._over:
            self._silent_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_again() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserInvalidMethodError:
                self.refuse(self._unknown_method())
            except httptools.HttpParserError:
                self.refuse(Answer(400, b"", "text/html"))
            if self._silent_bytes > limits.MAX_HEAD_BYTES:
                self.refuse(Answer(431, b"", "text/html"))
            return

    def end(self) -> int:
        """Stop parsing and drop the incomplete request; returns the bytes that were held for it."""
        held, self.held_bytes = self.held_bytes, 0
        self._over, self._pieces = True, []
        return held

    def refuse(self, answer: Answer) -> None:
        """Stop parsing, and answer the request that is arriving with this."""
        if not self._over:
            self._over = True
            self._connection.refused(answer)

    def _head_again(self) -> bytes:
        """The head of the current request without its Upgrade header, at which httptools stops before the body.

        Java's HttpClient and `curl --http2` request HTTP/2 in this way and accept HTTP/1.1 (RFC 9110, 7.8).
        """
        parser, headers = self._parser, self._headers
        headers["connection"] = "keep-alive" if parser.should_keep_alive() else "close"
        headers.pop("upgrade", None)
        lines = [f"{parser.get_method().decode()} {self._url.decode('latin-1')} HTTP/{parser.get_http_version()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    # ---- httptools' callbacks

    def on_message_begin(self) -> None:
        self.begun = self._in_head = True
        self._url, self._head_bytes = b"", 0
        self._headers: dict[str, str] = {}
        self._pieces = []
        self._connection.begun()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + limits.HEADER_OVERHEAD)
        if self._in_head:  # headers after the body, called trailers, are ignored (RFC 9110, 6.5.1)
            key = name.decode("latin-1").lower()
            if key == "host" and key in self._headers:  # RFC 9112, 3.2
                self.refuse(Answer(400, b"", "text/html"))
            self._headers[key] = value.decode("latin-1")

    def _count_head(self, size: int) -> None:
        self._silent_bytes = 0
        self._head_bytes += size
        if self._head_bytes > limits.MAX_HEAD_BYTES:
            self.refuse(Answer(431, b"", "text/html"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self.refuse(Answer(400 if version == "0.9" else 505, b"", "text/html"))
        elif self._parser.should_upgrade():
            if "upgrade" not in self._headers:  # CONNECT
                self.refuse(Answer(501, b"", "text/html"))
        elif self._content_length() > self._max_body_bytes:
            self.refuse(too_large(self._max_body_bytes))
        elif "expect" in self._headers and not self._over:
            if self._headers["expect"].lower() == "100-continue":
                self._connection.continue_expected()
            else:
                self.refuse(Answer(417, b"", "text/html"))

    def _content_length(self) -> int:
        length = self._headers.get("content-length", "0")
        return int(length[:20]) if length.isdecimal() else 0

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        if self._over:
            return
        self.body_bytes += len(body)
        if self.body_bytes > self._max_body_bytes:
            self.refuse(too_large(self._max_body_bytes))
            return
        self._pieces.append(body)
        self.held_bytes += len(body) + limits.PIECE_OVERHEAD
        self._connection.body_grew(len(body) + limits.PIECE_OVERHEAD)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._over or parser.should_upgrade():
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        held, self.held_bytes = self.held_bytes, 0
        self.begun, self.body_bytes, self._silent_bytes = False, 0, 0
        verb, keep, headers = parser.get_method().decode("latin-1"), parser.should_keep_alive(), self._headers
        confirm = keep and "connection" in headers and parser.get_http_version() == "1.0"
        self._over = not keep
        self._connection.received(Request(verb, self._url.decode("latin-1"), headers, body, keep, confirm, held))
