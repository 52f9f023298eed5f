"""Certificates, for targets whose server does not have one that the system trusts, or wants to see one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidInput


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
        """The contents of the three files; raises InvalidInput for one that cannot be read."""
        ca, certificate, key = (self._read(file) for file in (self.ca, self.certificate, self.key))
        return ca, certificate, key

    @staticmethod
    def _read(file: str | Path | None) -> bytes | None:
        if file is None:
            return None
        try:
            return Path(file).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
