"""What both gRPC servers have in common: how they are set up, started and stopped, and how they report errors.

Two servers answer the same methods, functions from request bytes to response bytes. `grpcio_server` serves every
address, with TLS, unix sockets, channel arguments and limits that hold while a message arrives. `native_server`
(pygrpc-native, HTTP/2 in Rust) has none of these and several times the throughput, so it is for loopback only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_STREAMS = 256  # calls under way on one connection; a client waits before it starts more
_MAX_STATUS_BYTES = 1024  # tensorflow_serving/model_servers/grpc_status_util.cc


class GrpcServer(Protocol):
    """Listens from `start` to `stop`."""

    def start(self) -> None:
        """Accept calls. Raises RuntimeError or OSError if it cannot listen."""

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then end them."""


@dataclass(frozen=True)
class Tls:
    """PEM texts, as in --ssl_config_file."""

    key: bytes
    certificate: bytes
    clients_ca: bytes | None
    client_must_prove: bool


@dataclass(frozen=True)
class GrpcOptions:
    """Where and how to listen. `address` is host:port, None for a unix socket alone."""

    address: str | None
    socket_path: str = ""
    threads: int = 8
    max_message_bytes: int = 256 << 20
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    tls: Tls | None = None
    health: bool = False


def status_message(text: str) -> str:
    """At most 1024 bytes of an error text, as the C++ server sends: clients refuse larger headers."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _MAX_STATUS_BYTES:
        return text
    return encoded[:_MAX_STATUS_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
