"""Where the server is and which of the two protocols it is spoken to in."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import InvalidInput

DEFAULT_GRPC_PORT = 8500
_LOOPBACK = ("localhost", "127.", "[::1]", "::1", "unix:")


@dataclass(frozen=True, slots=True)
class Target:
    """`address` is a URL for REST, and a gRPC name (``host:port``, ``dns:///…``, ``unix:…``) for gRPC."""

    protocol: str
    address: str
    secure: bool
    loopback: bool

    def __str__(self) -> str:
        return self.address


def parse_target(text: str) -> Target:
    """Read a target: ``host:port``, ``grpc://`` and ``grpcs://``, any gRPC name, ``http://`` and ``https://``.

    >>> parse_target("localhost").address
    'localhost:8500'
    >>> parse_target("http://localhost:8501/").address
    'http://localhost:8501'
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput("the target is empty: give host:port for gRPC or http://host:port for REST")
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    if separator and scheme in ("http", "https"):
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise InvalidInput(f"target {text!r} is no URL: {error}") from error
        if not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput(f"target {text!r} is no URL of a server: give http://host:port")
        del port
        return Target("rest", text.rstrip("/"), scheme == "https", parts.hostname.startswith(_LOOPBACK))
    if separator and scheme in ("grpc", "grpcs"):
        return Target("grpc", _with_port(rest.rstrip("/")), scheme == "grpcs", rest.startswith(_LOOPBACK))
    if separator and scheme not in ("dns", "unix", "ipv4", "ipv6", "xds", "unix-abstract"):
        raise InvalidInput(f"target {text!r}: {scheme}:// is not known; use host:port, grpcs://, http:// or https://")
    if separator or text.startswith(("unix:", "dns:", "ipv4:", "ipv6:")):
        address = rest.lstrip("/") if scheme == "dns" else text  # dns:///name:port, where an authority may precede name
        return Target("grpc", text, False, address.startswith(_LOOPBACK))
    return Target("grpc", _with_port(text), False, text.startswith(_LOOPBACK))


def _with_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return f"{address}:{DEFAULT_GRPC_PORT}"
    if not host or not port.isdecimal():
        raise InvalidInput(f"target {address!r} is not host:port")
    return address
