"""The real REST server, in this process, with a service that only returns what it was asked."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hangtag_serving.api.rest_resources import Answer
from hangtag_serving.http.server import RestServer

Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]


class Service:
    """Stands for `RestService`: answers with the verb, the path and the size of the body."""

    cors = False

    def __init__(self, respond: Respond | None = None) -> None:
        self._respond = respond

    def respond(self, verb: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if verb == "?":
            return Answer(501, b"")
        if self._respond is not None:
            return self._respond(verb, path, headers, body)
        return Answer(200, json.dumps([verb, path, len(body)]).encode())


@contextmanager
def rest_server(respond: Respond | None = None, *, max_body_bytes: int = 1 << 20) -> Iterator[tuple[RestServer, int]]:
    """A server that listens, and its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = RestServer(listener, Service(respond), threads=4, max_body_bytes=max_body_bytes)
    server.start()
    try:
        yield server, port
    finally:
        if not server.stopping:
            server.stop(1.0)


def connect(port: int, timeout: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionError:
        pieces.append(b"<reset>")
    return b"".join(pieces)


def statuses(text: bytes) -> list[int]:
    """Of all responses in what was received."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", text)]
