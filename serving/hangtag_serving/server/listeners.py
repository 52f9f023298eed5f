"""Makes the gRPC and REST servers from the options."""

from __future__ import annotations

import socket

from hangtag.errors import InvalidInput

from ..api.grpc_methods import methods
from ..api.rest_resources import RestService
from ..fast.grpc_predict import GrpcFastPath, Make
from ..fast.rest_predict import RestFastPath
from ..grpc.health import CHECK, check
from ..grpc.interface import GrpcOptions, GrpcServer
from ..http.server import RestServer
from ..models.registry import Models
from ..request_log import Recorder
from ..tensors.encoding import encode_content, encode_typed
from .options import ServerOptions


def rest_server(options: ServerOptions, models: Models, recorder: Recorder, listener: socket.socket) -> RestServer:
    """The REST server on an already bound socket."""

    def fast(server: RestServer) -> RestFastPath:
        return RestFastPath(
            server,
            models,
            recorder,
            max_json_depth=options.rest.max_json_depth,
            limits=options.limits,
            shares_runs=options.batching is None,
        )

    return RestServer(
        listener,
        RestService(models, recorder, options.rest),
        threads=options.rest_threads,
        max_body_bytes=options.max_request_bytes,
        make_fast=fast if options.fast else None,
    )


def grpc_server(options: ServerOptions, models: Models, recorder: Recorder) -> GrpcServer:
    """The compiled gRPC server if the options allow it, else grpcio's. Raises RuntimeError or OSError on a bad port."""
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
    fast: Make | None = None
    if options.fast and options.batching is None:
        fast = lambda respond, fail: GrpcFastPath(models, encode, recorder, respond, fail)  # noqa: E731
    if options.grpc_front == "native" and not _can_be_native(options):
        raise InvalidInput(
            "--grpc_front=native listens on loopback only, without TLS, socket path or channel arguments"
        )
    if options.grpc_front != "grpcio" and _can_be_native(options):
        try:
            from ..grpc.native_server import NativeServer
        except ImportError:  # no wheel for this platform
            if options.grpc_front == "native":
                raise InvalidInput("--grpc_front=native needs pygrpc-native, which is not installed here") from None
        else:
            return NativeServer(grpc_options, known, fast)
    from ..grpc.grpcio_server import GrpcioServer

    return GrpcioServer(grpc_options, known, fast)


def _can_be_native(options: ServerOptions) -> bool:
    """Whether the compiled server may be used: it has no TLS and no message limits, so it only serves this machine."""
    return bool(
        options.is_loopback
        and options.port
        and not (options.tls or options.grpc_socket_path or options.channel_arguments or options.batching)
    )
