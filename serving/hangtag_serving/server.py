"""The embedded server: reserve the ports, load, open the doors, and close them in order when told to stop."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hangtag.errors import HangtagError, InvalidInput
from hangtag.extras import require

from .manager import ModelManager
from .models import Models

log = logging.getLogger("hangtag.serving")

GRACE_SECONDS = 10.0
"""How long requests may go on after SIGTERM: what `docker stop` gives by default."""


@dataclass(frozen=True)
class ServerOptions:
    """What the flags say. Ports: 0 is off. Times are in seconds."""

    model_name: str
    model_base_path: Path
    host: str = "127.0.0.1"
    port: int = 8500
    rest_api_port: int = 8501
    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_seconds: float = 60.0


class StartError(HangtagError):
    """The server could not start."""


def serve(options: ServerOptions) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    if not (options.port or options.rest_api_port):
        raise InvalidInput("both ports are 0, which is off: give --port or --rest_api_port")
    if options.port == options.rest_api_port:
        raise InvalidInput(f"gRPC and REST cannot both have port {options.port}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Before TensorFlow is loaded: a taken port is known at once. Bound and not listening, it refuses connections.
    listener = _bind(options.host, options.rest_api_port) if options.rest_api_port else None
    if options.port:
        _bind(options.host, options.port).close()
    try:
        return _serve(options, listener, stop)
    finally:
        if listener is not None:
            listener.close()


def _serve(options: ServerOptions, listener: socket.socket | None, stop: threading.Event) -> int:
    require("tensorflow", extra="serving", what="hangtag serve")
    manager = ModelManager(
        options.model_name,
        options.model_base_path,
        poll_seconds=options.file_system_poll_wait_seconds,
        max_retries=options.max_num_load_retries,
        retry_seconds=options.load_retry_interval_seconds,
    )
    models = Models({options.model_name: manager})
    manager.start()
    try:
        # As the C++ server: no port is open until there is something to serve, so "the port is open" means ready.
        manager.wait_settled(stop)
        if stop.is_set():
            return 0
        if failed := manager.failures():
            reasons = ", ".join(
                f"{{{{name: {options.model_name} version: {v.number}}} due to error: {v.error_message}}}"
                for v in failed
            )
            raise StartError(f"Failed to start server. Error: 1 servable(s) did not become available: {reasons}")
        _open_doors(options, models, listener, stop)
    finally:
        manager.stop()
    return 0


def _open_doors(options: ServerOptions, models: Models, listener: socket.socket | None, stop: threading.Event) -> None:
    from . import grpc_service
    from .grpc_front import GrpcFront
    from .rest_front import RestFront
    from .rest_service import respond

    doors: list[GrpcFront | RestFront] = []
    addresses = []
    try:
        if options.port:
            try:
                doors.append(GrpcFront(options.host, options.port, grpc_service.methods(models)))
            except RuntimeError as error:
                raise StartError(_taken(options.host, options.port)) from error
            addresses.append(f"gRPC at {options.host}:{options.port}")
        if listener is not None:
            doors.append(RestFront(listener, partial(respond, models)))
            addresses.append(f"REST at http://{options.host}:{options.rest_api_port}/v1/models/{options.model_name}")
        for door in doors:
            door.start()
        print(f"serving {options.model_name}: {', '.join(addresses)}", flush=True)
        stop.wait()
        print("stopping", file=sys.stderr, flush=True)
    finally:
        closers = [threading.Thread(target=door.stop, args=(GRACE_SECONDS,)) for door in doors]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(_taken(host, port)) from error
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _taken(host: str, port: int) -> str:
    return f"port {port} of {host} is already taken: stop what listens there, or choose another with a flag"
