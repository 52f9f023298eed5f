"""The gRPC door, two ways behind one interface: grpcio for every address, and a compiled front for loopback.

Both take full method names to functions from bytes to bytes. What is theirs alone: grpcio has TLS, unix sockets,
channel arguments and a limit on the size of messages; the compiled front (pygrpc-native, HTTP/2 in Rust) has none of
these and several times the throughput, see `grpc_native`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

import grpc

from ..api.grpc_methods import Method
from ..errors import INTERNAL, ServingError
from .health import WATCH, watch

log = logging.getLogger("hangtag.serving")

_LONGEST_DETAILS = 1024  # tensorflow_serving/model_servers/grpc_status_util.cc


class GrpcFront(Protocol):
    """Listens from `start` to `stop`."""

    def start(self) -> None:
        """Accept calls."""

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cut them."""


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


def cut(words: str) -> str:
    """A status message is sent up to 1024 characters, as in C++."""
    return words if len(words) <= _LONGEST_DETAILS else words[:_LONGEST_DETAILS] + "...TRUNCATED"


class GrpcioFront:
    """grpcio's threaded server. Raises RuntimeError if it cannot listen."""

    def __init__(self, options: GrpcOptions, methods: Mapping[str, Method]) -> None:
        self._ended = Event()
        self._server = grpc.server(
            ThreadPoolExecutor(options.threads, thread_name_prefix="grpc"),
            handlers=[_Handler(methods, self._ended, options.health)],
            options=[
                ("grpc.so_reuseport", 0),  # two servers on one port would share the calls in silence
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                *options.channel_arguments,
            ],
        )
        targets = [options.address] if options.address else []
        targets += [f"unix:{options.socket_path}"] if options.socket_path else []
        for target in targets:
            if options.tls is None or target.startswith("unix:"):
                self._server.add_insecure_port(target)
            else:
                self._server.add_secure_port(target, _credentials(options.tls))

    def start(self) -> None:
        """Accept calls."""
        self._server.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cut them."""
        self._ended.set()
        self._server.stop(grace).wait()


def _credentials(tls: Tls) -> Any:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.clients_ca,
        require_client_auth=tls.client_must_prove,
    )


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Looks up a method by its full name; bytes in, bytes out."""

    def __init__(self, methods: Mapping[str, Method], ended: Event, health: bool) -> None:
        self._handlers = {
            name: grpc.unary_unary_rpc_method_handler(_answering(method)) for name, method in methods.items()
        }
        if health:
            self._handlers[WATCH] = grpc.unary_stream_rpc_method_handler(_watching(ended))

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _answering(method: Method) -> Any:
    def answer(body: bytes, context: Any) -> bytes:
        try:
            return method(body)
        except ServingError as error:
            context.abort(grpc.StatusCode[error.code], cut(error.message))
        except Exception:
            log.exception("a gRPC request failed")
            context.abort(grpc.StatusCode.INTERNAL, INTERNAL)
        raise AssertionError("abort raises")

    return answer


def _watching(ended: Event) -> Any:
    def answer(body: bytes, context: Any) -> Iterator[bytes]:
        yield watch(body)
        while context.is_active() and not ended.wait(0.5):
            pass

    return answer
