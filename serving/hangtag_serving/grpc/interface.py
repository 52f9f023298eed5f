"""The interface and the options of both gRPC servers.

Both serve the same methods, which are functions from request bytes to response bytes. `grpcio_server` can listen on
every address, with TLS, unix sockets, channel arguments, and limits that apply while a message arrives. `native_server`
(pygrpc-native, HTTP/2 in Rust) has several times the throughput but none of these, so it only serves loopback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_STREAMS = 256  # running calls of one connection; further calls wait in the client
_MAX_STATUS_BYTES = 1024  # tensorflow_serving/model_servers/grpc_status_util.cc


class GrpcServer(Protocol):
    """Listens from `start` to `stop`."""

    def start(self) -> None:
        """Accept calls. Raises RuntimeError or OSError if it cannot listen."""

    def stop(self, grace: float) -> None:
        """Refuse new calls, wait at most `grace` seconds for running ones, then end them."""


@dataclass(frozen=True)
class Tls:
    """The PEM texts of --ssl_config_file."""

    key: bytes
    certificate: bytes
    clients_ca: bytes | None
    client_must_prove: bool


@dataclass(frozen=True)
class GrpcOptions:
    """Where and how to listen. `address` is host:port, or None if there is only a unix socket."""

    address: str | None
    socket_path: str = ""
    threads: int = 8
    max_message_bytes: int = 256 << 20
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    tls: Tls | None = None
    health: bool = False


def status_message(text: str) -> str:
    """An error text cut to 1024 bytes as in C++, because clients refuse larger headers."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _MAX_STATUS_BYTES:
        return text
    return encoded[:_MAX_STATUS_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
