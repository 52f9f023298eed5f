"""How HTTP requests reach the server: directly, or by the rules of the library requests.

requests knows the environment (proxies, .netrc, CA bundles), and callers may pass a session with headers, passwords and
certificates. This module uses its rules, but lets it send the request only if a session has its own hooks or adapters,
or a proxy needs it: sending with requests takes twice as long.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..config.options import Options
from ..config.target import TLS, Target
from ..core.retry import Deadline
from ..errors import InvalidInput

if TYPE_CHECKING:
    import requests

_PIECE = 1 << 16  # bytes of a response that requests reads before the deadline is checked again


class Route(NamedTuple):
    """The address to connect to, which is the server's or a proxy's, and how to use the connection.

    `prefix` comes before the path in the request line. `context` is for TLS with `server_name`. `tunnel` is the head of
    a CONNECT request, for TLS through a proxy.
    """

    host: str
    port: int
    prefix: str
    context: ssl.SSLContext | None = None
    server_name: str = ""
    tunnel: bytes = b""


class Prepared(NamedTuple):
    """A prepared request, with the session's headers."""

    route: Route
    path: str
    headers: Mapping[str, str]
    body: bytes | None


def unusable(target: Target) -> InvalidInput:
    """The error for a request that a library refuses to send. Its own text is left out: it may have a password."""
    return InvalidInput(
        f"the call to {target} cannot be made: the target, a proxy in the environment, or a header of the session is "
        "not what HTTP allows"
    )


def direct_route(options: Options) -> Route | None:
    """The route to an address of this machine, where the environment's rules do not apply; None for other targets."""
    target = options.server
    if options.session is not None or not target.loopback or "@" in target.address or not target.address.isascii():
        return None
    parts = urlsplit(target.address)
    if not parts.path.isprintable() or " " in parts.path:
        raise unusable(target)
    context = (options.tls or TLS()).context() if target.secure else None
    host = parts.hostname or ""
    return Route(host, parts.port or (443 if context else 80), parts.path, context, host)


class SessionRoutes:
    """Routes by the rules of requests, with the caller's session or a new one without settings."""

    def __init__(self, options: Options) -> None:
        import requests
        from urllib3.exceptions import LocationParseError

        self._requests = requests
        self._unusable = (
            requests.exceptions.InvalidHeader,
            requests.exceptions.InvalidSchema,
            requests.exceptions.InvalidURL,
            LocationParseError,
            UnicodeError,
        )
        self._options = options
        self._target = options.server
        self._contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}
        self._session: requests.Session = options.session or requests.Session()
        if options.session is None:
            self._session.headers.clear()
            self._session.trust_env = not self._target.loopback

    def prepare(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | bytearray | None
    ) -> tuple[requests.PreparedRequest, dict[str, Any], Prepared | None]:
        """The request and its settings as requests would send it, and as we send it; None if only requests can."""
        url = self._target.address + path
        data = None if body is None else bytes(body)  # requests would send a bytearray in small pieces
        try:
            asked = self._requests.Request(method, url, headers=dict(headers), data=data)
            prepared = self._session.prepare_request(asked)
            url = prepared.url or ""
            settings: Any = self._session.merge_environment_settings(url, {}, True, None, None)
            proxy = self._requests.utils.select_proxy(url, settings["proxies"])
            plain = type(self._session.get_adapter(url)) is self._requests.adapters.HTTPAdapter
            ours = plain and not any(prepared.hooks.values())
            route = self._route(url, settings, proxy) if ours else None
        except self._unusable:
            raise unusable(self._target) from None
        if route is None:
            return prepared, settings, None
        sent = {"Host": urlsplit(url).netloc.rpartition("@")[2]} if "host" not in prepared.headers else {}
        sent |= {name: str(value) for name, value in prepared.headers.items()}
        if proxy and not route.tunnel:
            sent.update(self._proxy_headers(proxy))
        return prepared, settings, Prepared(route, prepared.path_url, sent, data)

    def _route(self, url: str, settings: Mapping[str, Any], proxy: str | None) -> Route | None:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port, netloc = parts.port or (443 if secure else 80), parts.netloc.rpartition("@")[2]
        context = self._context(settings["verify"], settings["cert"]) if secure else None
        if not proxy:
            return Route(host, port, "", context, host)
        try:
            by = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            address = by.hostname or "", by.port or 80
        except ValueError:
            raise unusable(self._target) from None
        if by.scheme != "http" or not address[0]:
            return None
        if not secure:
            return Route(*address, f"http://{netloc}")
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        lines += [f"{name}: {value}" for name, value in self._proxy_headers(proxy).items()]
        return Route(*address, "", context, host, "\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _proxy_headers(self, proxy: str) -> dict[str, str]:
        return dict(self._requests.adapters.HTTPAdapter().proxy_headers(proxy))

    def _context(self, verify: Any, cert: Any) -> ssl.SSLContext:
        """The context for requests' `verify` (True, False or a path) and `cert` (a file, or two)."""
        key = (verify, cert)
        if key not in self._contexts:
            if self._options.tls is not None:
                context = self._options.tls.context()
            elif verify is True or verify is None:
                context = TLS().context()
            elif verify:
                context = TLS(ca=verify).context()
            else:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if cert:
                context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
            self._contexts[key] = context
        return self._contexts[key]

    def send(
        self, prepared: requests.PreparedRequest, settings: dict[str, Any], limit: int, deadline: Deadline
    ) -> tuple[int, bytes, str]:
        """Let requests send it; returns status, the first `limit` + 1 bytes of the body, and Content-Encoding."""
        tls = self._options.tls
        if tls is not None:
            tls.read()  # raises a clear error for a missing file
            settings |= {"verify": str(tls.ca) if tls.ca else True}
            settings |= {"cert": (str(tls.certificate), str(tls.key))} if tls.certificate else {}
        failures, pieces, size = self._requests.exceptions, [], 0
        try:
            answer = self._session.send(prepared, timeout=deadline.remaining(), allow_redirects=False, **settings)
            with answer:
                if answer.status_code < 200:
                    answer.raw.close()  # else the final response would answer the next request
                    raise ConnectionError(f"an interim response, HTTP {answer.status_code}, which requests cannot skip")
                while size <= limit and (piece := answer.raw.read1(_PIECE, decode_content=False)):
                    pieces.append(piece)
                    size += len(piece)
                    if time.monotonic() > deadline.end:
                        raise TimeoutError
                return answer.status_code, b"".join(pieces), answer.headers.get("Content-Encoding", "identity")
        except (failures.Timeout, TimeoutError) as error:
            raise TimeoutError from error
        except self._unusable:
            raise unusable(self._target) from None
        except Exception as error:
            if "Timeout" in type(error).__name__:  # urllib3's, which is not a TimeoutError
                raise TimeoutError from error
            if isinstance(error, OSError) or type(error).__module__.startswith("urllib3."):
                raise ConnectionError(_root(error)) from error
            raise


def _root(error: BaseException) -> str:
    """The text of the innermost cause: requests wraps urllib3 wraps the operating system."""
    seen = [error]
    while True:
        reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        inner = reason if isinstance(reason, BaseException) else (error.__cause__ or error.__context__)
        if inner is None or inner in seen:
            return str(error) or type(error).__name__
        seen.append(inner)
        error = inner
