"""Bytes over one gRPC channel. grpc is imported when the first call is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..config import Settings
from ..core.failures import from_status
from ..core.retry import Late
from ..core.steps import Exchange
from ..errors import HangtagError, InvalidInput
from ..target import Target
from ..tls import TLS

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # the 4 MiB that users run into is this side's default
    ("grpc.enable_retries", 0),  # retry.py does it, and knows the deadline
    ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own 1 s would outlast a restart of the server
    ("grpc.max_reconnect_backoff_ms", 1000),
)

# A name that may stand for several replicas: calls go to them in turn, not all to the first that answers.
_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def channel_options(target: Target) -> list[tuple[str, int | str]]:
    """Options for a channel to `target`; a proxy from the environment never stands between us and loopback."""
    options = list(_OPTIONS)
    if target.loopback:
        options.append(("grpc.enable_http_proxy", 0))
    if target.address.startswith(("dns:", "ipv4:", "ipv6:")):
        options.append(("grpc.service_config", _ROUND_ROBIN))
    return options


def open_channel(settings: Settings, module: Any) -> Any:
    """A channel by `module`, which is grpc or grpc.aio; the caller's own if there is one."""
    import grpc

    if settings.channel is not None:
        return settings.channel
    target, options = settings.target, channel_options(settings.target)
    if not (target.secure or settings.tls is not None):
        return module.insecure_channel(target.address, options)
    ca, certificate, key = (settings.tls or TLS()).read()
    return module.secure_channel(target.address, grpc.ssl_channel_credentials(ca, key, certificate), options)


def call_metadata(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The headers as gRPC wants them: lower case."""
    return tuple((key.lower(), value) for key, value in settings.headers)


def explain(error: Any, target: Target) -> HangtagError:
    """What an RpcError means."""
    code, words = error.code().name, error.details() or "no text"
    if code == "DEADLINE_EXCEEDED" and "Deadline Exceeded" in words:  # this side's clock; a server has other words
        return Late(target)
    return from_status(code, words, str(target))


class GrpcTransport:
    """One channel, shared by all threads."""

    def __init__(self, settings: Settings) -> None:
        import grpc

        self._rpc_error: type[Exception] = grpc.RpcError
        self._target = settings.target
        self._metadata = call_metadata(settings)
        self._channel = open_channel(settings, grpc)
        self._owned = settings.channel is None
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
            raise explain(error, self._target) from error
        except ValueError as error:  # a header that cannot be sent, or a channel that its owner has closed
            raise InvalidInput(f"the call cannot be made: {error}") from error

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._owned:
            self._channel.close()
