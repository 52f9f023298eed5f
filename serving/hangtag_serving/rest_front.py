"""The REST door, on uvicorn with the httptools parser."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from .rest_service import Answer

MAX_BODY_BYTES = 256 << 20

Respond = Callable[[str, str, bytes], Answer]  # verb, path with query, body


class RestFront:
    """Serves an already bound socket from `start` to `stop`, on an event loop in a thread of its own."""

    def __init__(self, listener: socket.socket, respond: Respond) -> None:
        self._listener = listener
        self._respond = respond
        self._pool = ThreadPoolExecutor(4 * (os.cpu_count() or 1), thread_name_prefix="rest")
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application,
                interface="asgi3",
                http="httptools",
                ws="none",
                proxy_headers=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Accept connections."""
        self._listener.listen(1024)  # from here on a client gets in, even before the loop runs
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new connections, let running requests finish for `grace` seconds, then cut them."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    async def _application(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        if body is None:
            answer = Answer(413, b'{\n    "error": "The request is larger than %d bytes"\n}\n' % MAX_BODY_BYTES)
        else:
            path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(
                self._pool, self._respond, scope["method"], path.decode("latin-1"), body
            )
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        if body is None:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


async def _read_body(receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes | None:
    """The whole body, or None as soon as it is too large."""
    pieces, size = [], 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > MAX_BODY_BYTES:
            return None
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
