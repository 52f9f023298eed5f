"""Bytes over kept-alive HTTP connections by aiohttp, which the extra `aio` brings."""

from __future__ import annotations

import ssl
from typing import Any

from ..config import Settings
from ..core.failures import from_http, no_answer
from ..core.retry import Late
from ..core.steps import Exchange
from ..optional import require
from .event_loop import OwnLoop
from .http import request_parts, unusable


class AsyncRestTransport:
    """One session, shared by all tasks of the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._aiohttp = require("aiohttp", extra="aio", what="AsyncClient over REST")
        self._settings = settings
        self._loop = OwnLoop()
        self._target = settings.target
        self._owned = settings.session is None
        if self._owned:
            self._session = self._aiohttp.ClientSession(
                connector=self._aiohttp.TCPConnector(limit=0, **_verification(settings)),
                trust_env=not settings.target.loopback,
                skip_auto_headers=("User-Agent",),
            )
        else:
            self._session = settings.session

    async def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        self._loop.check()
        headers, body = request_parts(self._settings, exchange)
        try:
            async with self._session.request(
                exchange.verb,
                # aiohttp would decode and encode the path again, and a model name may hold a slash
                _url(self._target.address + exchange.path),
                data=body,
                headers=headers,
                timeout=self._aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as answer:
                content: bytes = await answer.read()
                status = answer.status
        except TimeoutError as error:
            raise Late(self._target) from error
        except self._aiohttp.InvalidURL:
            raise unusable(self._target) from None
        except (self._aiohttp.ClientError, OSError) as error:
            raise no_answer(str(self._target), str(error) or type(error).__name__) from error
        except (ValueError, AssertionError):  # the latter for a proxy without a port
            raise unusable(self._target) from None
        if status != 200:
            raise from_http(status, content, str(self._target))
        return content

    async def close(self) -> None:
        """Close all connections."""
        if self._owned:
            await self._session.close()


def _verification(settings: Settings) -> dict[str, ssl.SSLContext]:
    """The `ssl` argument of a connector, left out when there is nothing to say."""
    return {} if settings.tls is None else {"ssl": settings.tls.context()}


def _url(text: str) -> Any:
    from yarl import URL

    return URL(text, encoded=True)
