"""The two doors of a server, made as the flags say."""

from __future__ import annotations

import socket

from hangtag.errors import InvalidInput

from .api.grpc_methods import methods
from .api.rest_resources import RestService
from .api.tensor_protos import encode_content, encode_typed
from .grpc.grpcio_server import GrpcFront, GrpcioFront, GrpcOptions
from .grpc.health import CHECK, check
from .http.server import RestFront
from .models.registry import Models
from .options import ServerOptions
from .request_log import Recorder


def rest_door(options: ServerOptions, models: Models, recorder: Recorder, listener: socket.socket) -> RestFront:
    """REST on a socket that is bound already."""
    service = RestService(models, recorder, options.rest)
    return RestFront(
        listener,
        service,
        threads=options.rest_threads,
        max_body_bytes=options.max_request_bytes,
        in_bursts=options.batching is None,
    )


def grpc_door(options: ServerOptions, models: Models, recorder: Recorder) -> GrpcFront:
    """GRPC by the front that suits the flags; raises RuntimeError or OSError if it cannot listen."""
    encode = encode_content if options.tensor_content else encode_typed
    known = methods(models, encode, recorder, options.limits)
    if options.health:
        known[CHECK] = check
    host = f"[{options.host}]" if ":" in options.host else options.host
    grpc_options = GrpcOptions(
        address=f"{host}:{options.port}" if options.port else None,
        socket_path=options.grpc_socket_path,
        threads=options.grpc_threads,
        max_message_bytes=min(options.max_request_bytes, 2**31 - 1),
        channel_arguments=options.channel_arguments,
        tls=options.tls,
        health=options.health,
    )
    if options.grpc_front == "native" and not _can_be_native(options):
        raise InvalidInput(
            "--grpc_front=native listens on loopback only, without TLS, socket path or channel arguments"
        )
    if options.grpc_front != "grpcio" and _can_be_native(options):
        try:
            from .grpc.native_server import NativeFront
        except ImportError:  # no wheel for this platform
            if options.grpc_front == "native":
                raise InvalidInput("--grpc_front=native needs pygrpc-native, which is not installed here") from None
        else:
            return NativeFront(grpc_options, known, models, encode, recorder)
    return GrpcioFront(grpc_options, known)


def _can_be_native(options: ServerOptions) -> bool:
    """The compiled front knows neither TLS nor limits: it is for this machine's own clients."""
    return bool(
        options.is_loopback
        and options.port
        and not (options.tls or options.grpc_socket_path or options.channel_arguments or options.batching)
    )
