"""Bytes over kept-alive HTTP connections. requests is imported when the first call is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import DeadlineExceeded, ServerUnavailable
from .exchange import Exchange
from .failures import from_http
from .target import Target


class RestTransport:
    """One session with room for `connections` at once, shared by all threads."""

    def __init__(self, target: Target, headers: Sequence[tuple[str, str]], connections: int) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self._failures = requests.exceptions
        self._target = target
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=connections)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._session.headers.update({"Content-Type": "application/json", **dict(headers)})
        # A proxy or .netrc from the environment never stands between us and loopback.
        self._session.trust_env = not target.loopback

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        failures = self._failures
        try:
            answer = self._session.request(
                exchange.verb,
                self._target.address + exchange.path,
                data=exchange.body or None,
                timeout=timeout,
                allow_redirects=False,
            )
        except failures.Timeout as error:
            raise DeadlineExceeded(f"no complete answer from {self._target} within {timeout:.3g} s") from error
        except (failures.ConnectionError, failures.ChunkedEncodingError) as error:
            raise ServerUnavailable(f"no answer from {self._target}: {_root(error)}") from error
        except failures.RequestException as error:
            raise ServerUnavailable(f"no usable answer from {self._target}: {error}") from error
        if answer.status_code != 200:
            raise from_http(answer.status_code, answer.content, self._target.address)
        return answer.content

    def close(self) -> None:
        """Close all connections."""
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
