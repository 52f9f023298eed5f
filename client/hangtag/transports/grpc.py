"""Sends requests over one gRPC channel. The first call imports grpc."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ..config.options import Options
from ..config.target import TLS, Target
from ..core.retry import Deadline
from ..errors import BROKE_OFF, HangtagError, InvalidInput, from_status, no_answer
from ..protocol.request import MAX_RESPONSE, Request

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MAX_RESPONSE),  # gRPC's default of 4 MiB is too small for many models
    ("grpc.enable_retries", 0),  # core/retry.py does this, and knows the deadline
    ("grpc.initial_reconnect_backoff_ms", 100),  # the default of 1 s is longer than a server takes to restart
    ("grpc.max_reconnect_backoff_ms", 1000),
)

# A name may stand for several replicas. Calls go to all of them in turn, not only to the first that answers.
_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def channel_options(target: Target) -> list[tuple[str, int | str]]:
    """The options of a channel to `target`. Loopback addresses never use a proxy from the environment."""
    options = list(_OPTIONS)
    if target.loopback:
        options.append(("grpc.enable_http_proxy", 0))
    if target.address.startswith(("dns:", "ipv4:", "ipv6:")):
        options.append(("grpc.service_config", _ROUND_ROBIN))
    first, comma, _ = target.address.partition(",")
    if comma:  # by default gRPC sends the whole list of addresses as :authority, which is not valid
        options.append(("grpc.default_authority", first.partition(":")[2].lstrip("/")))
    return options


def open_channel(options: Options, module: Any) -> Any:
    """The caller's channel, or a new one made by `module`, which is grpc or grpc.aio."""
    import grpc

    if options.channel is not None:
        return options.channel
    target = options.server
    if not (target.secure or options.tls is not None):
        return module.insecure_channel(target.address, channel_options(target))
    ca, certificate, key = (options.tls or TLS()).read()
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return module.secure_channel(target.address, credentials, channel_options(target))


def call_metadata(options: Options) -> tuple[tuple[str, str], ...]:
    """The headers as gRPC metadata, whose keys are lower case."""
    return tuple((key.lower(), value) for key, value in options.sent_headers)


def explain(error: Any, target: Target, deadline: Deadline) -> HangtagError:
    """The HangtagError for an RpcError."""
    code, text = error.code().name, error.details() or "no text"
    if code == "DEADLINE_EXCEEDED" and "Deadline Exceeded" in text:  # our own deadline; a server has another text
        return deadline.exceeded(f"no complete answer from {target}")
    return from_status(code, text, str(target))


class GrpcTransport:
    """One channel, shared by all threads."""

    def __init__(self, options: Options) -> None:
        import grpc

        self._rpc_error: type[Exception] = grpc.RpcError
        self._target = options.server
        self._metadata = call_metadata(options)
        self._channel = open_channel(options, grpc)
        self._owned = options.channel is None
        self._methods: dict[str, Callable[..., bytes | None]] = {}

    def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""
        method = self._methods.get(request.path)
        if method is None:
            # Without (de)serializers: grpc turns an exception in one into INTERNAL, and drops the cause.
            method = self._methods[request.path] = self._channel.unary_unary(request.path)
        try:
            body = method(request.body, timeout=deadline.end - time.monotonic(), metadata=self._metadata)
        except self._rpc_error as error:
            raise explain(error, self._target, deadline) from error
        except ValueError as error:  # a header that cannot be sent, or a channel that its owner has closed
            raise InvalidInput(f"the call cannot be made: {error}") from error
        if body is None:  # the status was OK, but no complete message came
            raise no_answer(str(self._target), BROKE_OFF)
        return body

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._owned:
            self._channel.close()


class AsyncGrpcTransport:
    """One grpc.aio channel, shared by all tasks. It must be made while the event loop runs."""

    def __init__(self, options: Options) -> None:
        from grpc import aio

        self._rpc_error: type[Exception] = aio.AioRpcError
        self._target = options.server
        self._metadata = call_metadata(options)
        self._channel = open_channel(options, aio)
        self._owned = options.channel is None
        self._methods: dict[str, Callable[..., Any]] = {}

    async def send(self, request: Request[Any], deadline: Deadline) -> bytes:
        """The body of the response; raises a HangtagError."""
        method = self._methods.get(request.path)
        if method is None:
            method = self._methods[request.path] = self._channel.unary_unary(request.path)
        try:
            timeout = deadline.end - time.monotonic()
            body: bytes | None = await method(request.body, timeout=timeout, metadata=self._metadata)
        except self._rpc_error as error:
            raise explain(error, self._target, deadline) from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"the call cannot be made: {error}") from error
        if body is None:  # the status was OK, but no complete message came
            raise no_answer(str(self._target), BROKE_OFF)
        return body

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._owned:
            await self._channel.close()
