"""Bytes over one gRPC channel. grpc is imported when the first call is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import HangtagError
from .exchange import Exchange
from .failures import from_status
from .target import Target

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # the 4 MiB that users run into is this side's default
    ("grpc.enable_retries", 0),  # retry.py does it, and knows the deadline
    ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own 1 s would outlast a restart of the server
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def channel_options(target: Target) -> list[tuple[str, int]]:
    """Options for a channel to `target`; a proxy from the environment never stands between us and loopback."""
    return [*_OPTIONS, *([("grpc.enable_http_proxy", 0)] if target.loopback else [])]


class GrpcTransport:
    """One lazily made channel, shared by all threads."""

    def __init__(self, target: Target, headers: Sequence[tuple[str, str]]) -> None:
        import grpc

        self._rpc_error: type[Exception] = grpc.RpcError
        self._target = target
        self._metadata = tuple((key.lower(), value) for key, value in headers)
        options = channel_options(target)
        if target.secure:
            self._channel = grpc.secure_channel(target.address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(target.address, options)
        self._methods: dict[str, Callable[..., bytes]] = {}

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer to `exchange`; raises a HangtagError."""
        method = self._methods.get(exchange.path)
        if method is None:
            # No (de)serializers: an exception inside one would come out as INTERNAL, its cause lost.
            method = self._methods[exchange.path] = self._channel.unary_unary(exchange.path)
        try:
            return method(exchange.body, timeout=timeout, metadata=self._metadata)
        except self._rpc_error as error:
            raise _explain(error, self._target) from error

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()


def _explain(error: Any, target: Target) -> HangtagError:
    return from_status(error.code().name, error.details() or "no text", target.address)
