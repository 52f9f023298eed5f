"""The address of a server, its protocol, and its TLS certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..images.files import why_unreadable

if TYPE_CHECKING:
    import ssl

DEFAULT_GRPC_PORT = 8500

_LOOPBACK = ("localhost", "127.", "[::1]", "::1", "unix:")
_USERINFO = re.compile(r"//[^/]*@")
_MAY_BE_SECRET, _SCHEME = re.compile("[@?#]"), re.compile(r"\w+://")
_BARE_IPV6 = re.compile(r"[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F.:]*")


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a server and its protocol, "grpc" or "rest".

    `address` is a URL for REST, and a name (``host:port``, ``dns:///…``, ``unix:…``) for gRPC. It may hold a password,
    so errors and logs show ``str(target)`` instead.
    """

    protocol: str
    address: str = field(repr=False)
    secure: bool
    loopback: bool

    def __str__(self) -> str:
        return _USERINFO.sub("//", self.address)


def parse_target(text: str) -> Target:
    """Parse a target: ``host:port``, ``grpc://``, ``grpcs://``, any gRPC name, ``http://`` or ``https://``.

    >>> parse_target("localhost").address
    'localhost:8500'
    >>> parse_target("http://localhost:8501/").address
    'http://localhost:8501'
    >>> str(parse_target("https://me:s3cret@example.org"))
    'https://example.org'
    """
    if not isinstance(text, str) or not text.strip():
        what = "empty" if isinstance(text, str) else f"of type {type(text).__name__}"
        raise InvalidInput(f"the target is {what}: give host:port for gRPC or http://host:port for REST")
    text = text.strip()
    if not text.isprintable():
        raise InvalidInput(f"target {_shown(text)} has characters that no address can have")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme in ("http", "https"):
        return _rest(f"{scheme}://{rest.rstrip('/')}")
    if scheme in ("grpc", "grpcs"):
        return Target("grpc", _with_port(rest.rstrip("/")), scheme == "grpcs", rest.startswith(_LOOPBACK))
    if separator and scheme not in ("dns", "unix", "ipv4", "ipv6", "xds", "unix-abstract"):
        raise InvalidInput(f"target {_shown(text)}: use host:port, grpcs://, http:// or https://")
    if separator or text.startswith(("unix:", "dns:", "ipv4:", "ipv6:")):
        address = rest.lstrip("/") if scheme == "dns" else text  # dns:///name:port
        return Target("grpc", text, False, address.startswith(_LOOPBACK))
    return Target("grpc", _with_port(text), False, text.startswith(_LOOPBACK))


def _rest(url: str) -> Target:
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:  # its message may hold a part of the password
        usable = False
    if not usable:
        raise InvalidInput(f"target {_shown(url)} is not the URL of a server: give http://host:port, without a query")
    if "/v1/models" in parts.path:
        raise InvalidInput(
            f"target {_shown(url)} contains the path of a model: give http://host:port, and the name separately"
        )
    return Target("rest", url, parts.scheme == "https", (parts.hostname or "").startswith(_LOOPBACK))


def _with_port(address: str) -> str:
    if "@" in address:
        raise InvalidInput(f"target {_shown(address)}: a gRPC target cannot contain a password: give it in headers")
    if _BARE_IPV6.fullmatch(address):
        address = f"[{address}]"
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return f"{address}:{DEFAULT_GRPC_PORT}"
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InvalidInput(f"target {_shown(address)} is not host:port")
    return address


def _shown(text: str) -> str:
    """A target for an error message; only its scheme if the rest may hold a secret."""
    if not _MAY_BE_SECRET.search(text):
        return repr(text)
    scheme = _SCHEME.match(text)
    return f"'{scheme[0] if scheme else ''}…'"


# ---- certificates


@dataclass(frozen=True, slots=True)
class TLS:
    """PEM files: `ca` signs the server's certificate; `certificate` and `key` are the client's own (mutual TLS).

    Without `ca`, gRPC trusts the authorities that it ships with, and REST trusts those of certifi. The same applies to
    ``grpcs://`` and ``https://`` targets without `tls`.

    >>> TLS(ca="ca.pem", certificate="client.pem", key="client.key").ca
    'ca.pem'
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("mutual TLS needs both a certificate and its key, but only one was given")

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of the three files; raises InvalidInput if they cannot be read or do not fit together.

        >>> TLS().read()
        (None, None, None)
        """
        self.context()  # checks the files: gRPC would only report a failed handshake
        ca, certificate, key = (
            None if file is None else Path(file).read_bytes() for file in (self.ca, self.certificate, self.key)
        )
        return ca, certificate, key

    def context(self) -> ssl.SSLContext:
        """The SSL context for HTTP; raises InvalidInput like `read`.

        >>> TLS().context().check_hostname
        True
        """
        import ssl

        import certifi  # a dependency of requests

        for file in (self.ca, self.certificate, self.key):
            try:
                if file is not None:
                    Path(file).open("rb").close()
            except (OSError, TypeError, ValueError) as error:  # ValueError: the name is not allowed
                raise InvalidInput(f"cannot read {file!s}: {why_unreadable(error)}") from error
        try:
            context = ssl.create_default_context(cafile=self.ca or certifi.where())
        except ssl.SSLError as error:
            raise InvalidInput(f"{self.ca} holds no certificate: {error.reason}") from error
        if self.certificate is not None and self.key is not None:
            try:
                # Without a password, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError as error:
                what = f"{self.certificate} and {self.key} are no certificate and its key, unencrypted"
                raise InvalidInput(f"{what}: {error.reason or error}") from error
        return context
