"""Bytes over kept-alive HTTP connections by requests: a session of the caller's, or what requests knows how to read."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

from ..config import Settings
from ..core.failures import from_http, no_answer
from ..core.retry import Late
from ..core.steps import Exchange
from ..errors import InvalidInput
from ..target import Target

_PIECE = 1 << 16  # bytes of an answer that are read between two looks at the clock


def request_parts(settings: Settings, exchange: Exchange[Any]) -> tuple[dict[str, str], bytes | bytearray | None]:
    """Headers and body, compressed if that was asked for and the body is large enough."""
    headers = {"Content-Type": "application/json", **dict(settings.headers)}
    body = exchange.body
    if settings.gzip_above is not None and len(body) > settings.gzip_above:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=1)
    return headers, body or None


def wants_requests(settings: Settings) -> bool:
    """Whether requests has to carry the calls, slow as it is.

    So it is with a session of the caller's, and with proxies, passwords and authorities of the environment, whose rules
    it knows. None of these concern this machine's own addresses.
    """
    if settings.session is not None:
        return True
    target = settings.target
    if "@" in target.address or not target.address.isascii():
        return True
    if target.loopback:
        return False
    from urllib.request import getproxies

    authorities = target.secure and any(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    netrc = [os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"]
    return bool(getproxies()) or authorities or any(file and Path(file).exists() for file in netrc)


def unusable(target: Target) -> InvalidInput:
    """The error for what the library below refuses to send; its own words may hold a header or a proxy's password."""
    return InvalidInput(
        f"the call to {target} cannot be made: the target, a proxy in the environment, or a header of the session is "
        "not what HTTP allows"
    )


class RestTransport:
    """One session with room for all connections at once, shared by all threads."""

    def __init__(self, settings: Settings) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.exceptions import LocationParseError

        self._failures = requests.exceptions
        self._unusable = (
            requests.exceptions.InvalidHeader,
            requests.exceptions.InvalidSchema,
            requests.exceptions.InvalidURL,
            LocationParseError,
        )
        self._settings = settings
        self._target = settings.target
        self._owned = settings.session is None
        self._options: dict[str, Any] = {}
        if not self._owned:
            self._session = settings.session
            return
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=max(settings.concurrency, 10))
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # A proxy or .netrc from the environment never stands between us and loopback.
        self._session.trust_env = not settings.target.loopback
        if settings.tls is not None:
            settings.tls.read()  # here, so that a file that is missing is called missing
            if settings.tls.ca is not None:
                self._options["verify"] = str(settings.tls.ca)
            if settings.tls.certificate is not None:
                self._options["cert"] = (str(settings.tls.certificate), str(settings.tls.key))

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        failures, end = self._failures, time.monotonic() + timeout
        headers, body = request_parts(self._settings, exchange)
        try:
            with self._session.request(
                exchange.verb,
                self._target.address + exchange.path,
                data=body and bytes(body),  # a bytearray would be sent piece by piece
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                **self._options,
            ) as answer:
                content = self._read(answer.raw, end)
                status: int = answer.status_code
        except (failures.Timeout, TimeoutError) as error:
            raise Late(self._target) from error
        except self._unusable:
            raise unusable(self._target) from None
        except (failures.RequestException, OSError) as error:
            raise no_answer(str(self._target), str(_root(error))) from error
        if status == 200 and not content:  # cut off within its headers, which http.client does not mind
            raise no_answer(str(self._target), "the answer broke off")
        if status != 200:
            raise from_http(status, content, str(self._target))
        return content

    def _read(self, raw: Any, end: float) -> bytes:
        """The whole body. requests bounds the wait for each packet; a sender of single bytes must be bounded too."""
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        pieces = []
        try:
            while piece := raw.read1(_PIECE, decode_content=True):
                pieces.append(piece)
                if time.monotonic() > end:
                    raise TimeoutError
        except ReadTimeoutError as error:
            raise TimeoutError from error
        except HTTPError as error:
            raise ConnectionError(f"the answer broke off: {error}") from error
        return b"".join(pieces)

    def close(self) -> None:
        """Close all connections."""
        if self._owned:
            self._session.close()


def _root(error: BaseException) -> str:
    """The innermost cause in words: requests wraps urllib3 wraps the operating system."""
    seen = [error]
    while True:
        reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        inner = reason if isinstance(reason, BaseException) else (error.__cause__ or error.__context__)
        if inner is None or inner in seen:
            return str(error) or type(error).__name__
        seen.append(inner)
        error = inner
