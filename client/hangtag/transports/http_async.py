"""Sends requests over persistent HTTP connections with aiohttp, which the extra `aio` installs."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import threading
from typing import Any

from ..config.options import Options
from ..core.retry import Deadline
from ..errors import BROKE_OFF, no_answer
from ..optional import require
from ..protocol.request import Request, too_large
from .http import MAX_ERROR, final_body, request_headers
from .http_route import unusable

_LARGE = 1 << 20  # bytes; aiohttp warns about larger bodies unless they are streams


class AsyncHttpTransport:
    """One session, shared by all tasks of the running loop."""

    def __init__(self, options: Options) -> None:
        self._aiohttp = require("aiohttp", extra="aio", what="AsyncClient over REST")
        self._options = options
        self._target = options.server
        self._headers = request_headers(options)
        self._owned = options.session is None
        self._session = options.session if options.session is not None else self._own_session()

    def _own_session(self) -> Any:
        aiohttp, tls = self._aiohttp, self._options.tls
        verification = {} if tls is None else {"ssl": tls.context()}
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=_resolver(aiohttp), **verification),
            trust_env=not self._target.loopback,
            skip_auto_headers=("User-Agent",),
            auto_decompress=False,
        )

    async def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""
        body, headers = request.body, self._headers
        if self._options.gzip_above is not None and len(body) > self._options.gzip_above:
            body, headers = gzip.compress(body, compresslevel=1), {**headers, "Content-Encoding": "gzip"}
        encoding = "identity"
        try:
            async with self._session.request(
                request.method,
                # aiohttp would decode and encode the path again, and a model name may have an encoded slash
                _url(self._target.address + request.path),
                data=io.BytesIO(body) if len(body) > _LARGE else body,
                headers=headers,
                timeout=self._aiohttp.ClientTimeout(total=deadline.remaining()),
                allow_redirects=False,
            ) as answer:
                status = answer.status
                limit = request.limit if status == 200 else MAX_ERROR
                content = await _read(answer, request.path, limit)
                if not self._session.auto_decompress:
                    encoding = answer.headers.get("Content-Encoding", "identity")
        except TimeoutError as error:
            raise deadline.exceeded(f"no complete answer from {self._target}") from error
        except self._aiohttp.InvalidURL:
            raise unusable(self._target) from None
        except (self._aiohttp.ServerDisconnectedError, self._aiohttp.ClientPayloadError) as error:
            raise no_answer(str(self._target), BROKE_OFF) from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise no_answer(str(self._target), str(error) or type(error).__name__) from error
        except (ValueError, AssertionError):  # AssertionError: a proxy without a port
            raise unusable(self._target) from None
        return final_body(status, content, encoding, request, str(self._target))

    async def close(self) -> None:
        """Close all connections."""
        if self._owned:
            await self._session.close()


async def _read(answer: Any, path: str, limit: int) -> bytes:
    """The body; raises BadResponse if it has more than `limit` bytes. The body of an error is cut instead."""
    pieces: list[bytes] = []
    size = (answer.content_length or 0) if answer.status == 200 else 0
    if size <= limit:
        size = 0
        async for piece in answer.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                break
    if size > limit:
        answer.close()  # also closes the connection, because of the unread rest
        if answer.status == 200:
            raise too_large(path, limit)
    return b"".join(pieces)


def _url(text: str) -> Any:
    from yarl import URL

    return URL(text, encoded=True)


def _resolver(aiohttp: Any) -> Any:
    """A resolver that does not delay the end of the event loop.

    aiohttp's own resolver uses the loop's thread pool, and asyncio.run() waits for that pool beyond every deadline.
    """

    class Resolver(aiohttp.abc.AbstractResolver):  # type: ignore[misc]
        async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[dict[str, Any]]:
            loop = asyncio.get_running_loop()
            outcome = loop.create_future()

            def settle(result: Any) -> None:
                if not outcome.done():
                    outcome.set_result(result)

            def look_up() -> None:
                try:
                    result: Any = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
                except Exception as error:
                    result = error
                try:
                    loop.call_soon_threadsafe(settle, result)
                except RuntimeError:  # the loop has ended meanwhile
                    return

            threading.Thread(target=look_up, daemon=True, name="hangtag-dns").start()
            addresses = await outcome
            if isinstance(addresses, Exception):
                raise addresses
            return [
                {
                    "hostname": host,
                    "host": address[0],
                    "port": address[1],
                    "family": kind,
                    "proto": protocol,
                    "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                }
                for kind, _, protocol, _, address in addresses
            ]

        async def close(self) -> None:
            """Nothing to close."""

    return Resolver()
