"""Certificates, for targets whose server does not have one that the system trusts, or wants to see one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidInput

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class TLS:
    """PEM files: `ca` signs the server's certificate; `certificate` and `key` are the client's own (mutual TLS).

    ``TLS()`` trusts what gRPC or certifi trusts; so do the targets ``grpcs://`` and ``https://`` without any `tls`.

    >>> TLS(ca="ca.pem", certificate="client.pem", key="client.key").ca
    'ca.pem'
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("mutual TLS takes a certificate and its key, and only one of them was given")

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of the three files; raises InvalidInput for what cannot be read or does not fit together.

        >>> TLS().read()
        (None, None, None)
        """
        self.context()  # gRPC itself would only say that the handshake failed
        ca, certificate, key = (
            None if file is None else Path(file).read_bytes() for file in (self.ca, self.certificate, self.key)
        )
        return ca, certificate, key

    def context(self) -> ssl.SSLContext:
        """The same for HTTP.

        >>> TLS().context().check_hostname
        True
        """
        import ssl

        for file in (self.ca, self.certificate, self.key):
            if file is not None:
                _check(file)
        try:
            context = ssl.create_default_context(cafile=self.ca or _certifi())
        except ssl.SSLError as error:
            raise InvalidInput(f"{self.ca} holds no certificate: {error.reason}") from error
        if self.certificate is not None and self.key is not None:
            try:
                # A password would be asked for on the terminal; a service has none.
                context.load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError as error:
                words = f"{self.certificate} and {self.key} are no certificate and its key, unencrypted"
                raise InvalidInput(f"{words}: {error.reason or error}") from error
        return context


def _check(file: str | Path) -> None:
    try:
        Path(file).open("rb").close()
    except (OSError, TypeError, ValueError) as error:  # ValueError: what no file can be called
        raise InvalidInput(f"cannot read {file!s}: {getattr(error, 'strerror', None) or error}") from error


def _certifi() -> str:
    import certifi  # requests brings it

    return certifi.where()
