"""Requests out of a connection's bytes: HTTP/1.1 by httptools' compiled parser, with limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import httptools

from ..api.rest_resources import Answer, too_large

_MAX_HEADER_BYTES = 64 << 10


class Request(NamedTuple):
    """One that has been received; the names of `headers` are lower-case.

    `keep`: whether the client goes on with the connection; `confirm`: whether it has to be told so, as HTTP/1.0 wants.
    """

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep: bool
    confirm: bool

    @property
    def is_encoded(self) -> bool:
        """Whether the body is gzip, or claims to be something else."""
        return "content-encoding" in self.headers


class Receiver(Protocol):
    """Who gets what is read, while it is being read."""

    def received(self, request: Request) -> None:
        """A request is complete."""

    def asked(self) -> None:
        """A client wants to be told to send the body of the request that it has begun."""

    def refused(self, answer: Answer) -> None:
        """What has come is no request that could be answered otherwise; nothing is read after it."""


class RequestReader:
    """Reads requests until one is the connection's last or is refused; what follows is thrown away."""

    def __init__(self, receiver: Receiver, max_body_bytes: int, unknown_method: Callable[[], Answer]) -> None:
        """`unknown_method`: what a request with a method that HTTP does not have gets."""
        self._receiver, self._max_body_bytes, self._unknown_method = receiver, max_body_bytes, unknown_method
        self._parser = httptools.HttpRequestParser(self)
        self.begun = self._over = False  # begun: a request has begun to come and is not complete
        self.size = 0  # bytes of its body so far
        self._pieces: list[bytes] = []
        self._unheard = 0  # bytes since the parser last told of something: it keeps a header without a limit

    def feed(self, data: bytes) -> None:
        """Take in what has arrived."""
        while not self._over:
            self._unheard += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_again() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserInvalidMethodError:
                self._refuse(self._unknown_method())
            except httptools.HttpParserError:
                self._refuse(Answer(400, b"", "text/html"))
            if self._unheard > _MAX_HEADER_BYTES:
                self._refuse(Answer(431, b"", "text/html"))
            return

    def end(self) -> None:
        """Read no more, and forget what is half received."""
        self._over = True
        self._pieces = []

    def _refuse(self, answer: Answer) -> None:
        if not self._over:
            self.end()
            self._receiver.refused(answer)

    def _head_again(self) -> bytes:
        """The head just read, without the wish for another protocol: at that the parser stops before the body.

        Java's HttpClient and `curl --http2` wish for HTTP/2 in this way, and are content with HTTP/1.1 (RFC 9110, 7.8).
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
        self._url, self._head_size = b"", 0
        self._headers: dict[str, str] = {}
        self._pieces = []

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        if self._in_head:  # and not after the body, where nothing may change what the request is (RFC 9110, 6.5.1)
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _count_head(self, size: int) -> None:
        self._unheard = 0
        self._head_size += size
        if self._head_size > _MAX_HEADER_BYTES:
            self._refuse(Answer(431, b"", "text/html"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._parser.should_upgrade():
            if "upgrade" not in self._headers:  # CONNECT
                self._refuse(Answer(501, b"", "text/html"))
            return
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._max_body_bytes:
            self._refuse(too_large(self._max_body_bytes))
        elif "expect" in self._headers and not self._over:
            if self._headers["expect"].lower() == "100-continue":
                self._receiver.asked()
            else:
                self._refuse(Answer(417, b"", "text/html"))

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        if self._over:
            return
        self.size += len(body)
        if self.size > self._max_body_bytes:
            self._refuse(too_large(self._max_body_bytes))
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._over or parser.should_upgrade():
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self.begun, self.size, self._unheard = False, 0, 0
        verb, keep, headers = parser.get_method().decode("latin-1"), parser.should_keep_alive(), self._headers
        confirm = keep and "connection" in headers and parser.get_http_version() == "1.0"
        self._over = not keep
        self._receiver.received(Request(verb, self._url.decode("latin-1"), headers, body, keep, confirm))
