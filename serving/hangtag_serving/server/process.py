"""The process of the embedded server: reserves the ports, loads the models, listens, and stops cleanly at SIGTERM."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from hangtag.errors import HangtagError
from hangtag.optional import require

from ..errors import ServingError
from ..fast.tensorflow_tuning import for_small_models
from ..machine import raise_descriptor_limit
from ..metrics import Metrics
from ..models.config_watcher import watch_config
from ..models.lifecycle import ModelManager
from ..models.model_config import ModelConfig
from ..models.registry import Models
from ..request_log import Recorder
from .loading import Loader
from .options import ServerOptions

if TYPE_CHECKING:
    from ..grpc.interface import GrpcServer
    from ..http.server import RestServer

log = logging.getLogger("hangtag.serving")

_ENDING_SECONDS = 1.0


class StartError(HangtagError):
    """The server could not start."""


def serve(options: ServerOptions) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code.

    If something still runs after the grace period, the process ends with exit code 0 and this does not return.
    """
    stop = _stop_at_signals(options.grace_seconds)
    raise_descriptor_limit()
    # Bind before TensorFlow is loaded, so that a taken port fails at once. Connections are refused until it listens.
    listener = _bind(options.host, options.rest_api_port) if options.rest_api_port else None
    if options.port:
        _bind(options.host, options.port).close()
    try:
        return _serve(options, listener, stop)
    finally:
        if listener is not None:
            listener.close()


def _stop_at_signals(grace_seconds: float) -> threading.Event:
    """An event that SIGTERM and SIGINT set. A moment after the grace period, the process ends in any case."""
    stop = threading.Event()
    # TensorFlow's runs and loads cannot be stopped, and the interpreter would wait for their threads.
    end = threading.Timer(grace_seconds + _ENDING_SECONDS, os._exit, (0,))
    end.daemon = True

    def handle(*_: object) -> None:
        stop.set()
        if not end.is_alive():
            end.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _serve(options: ServerOptions, listener: socket.socket | None, stop: threading.Event) -> int:
    if options.fast:
        load_options = for_small_models(options.load, [config.base_path for config in options.models])
        options = replace(options, load=load_options)
    require("tensorflow", extra="serving", what="hangtag serve")
    recorder = Recorder(Metrics(), access_log=options.access_log)
    load = Loader(options, recorder.metrics)

    def make(config: ModelConfig) -> ModelManager:
        return ModelManager(config, options.manager, load)

    models = Models(make, early_labels=options.early_labels, path_map=options.path_map)
    models.stop_waiting = stop
    try:
        # As in C++, no port is open until a model is available, so an open port means that the server is ready.
        if options.config_file is not None and options.config_poll_seconds > 0:
            watch_config(models, options.config_file, options.config_poll_seconds, options.path_map, stop)
        try:
            models.apply(options.models, starting=True)
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error.code}: {error.message}") from error
        if not stop.is_set():
            _listen(options, models, recorder, listener, stop)
    finally:
        models.stop()
        recorder.close()
    return 0


def _listen(
    options: ServerOptions, models: Models, recorder: Recorder, listener: socket.socket | None, stop: threading.Event
) -> None:
    """Answer requests until `stop` is set."""
    from .listeners import grpc_server, rest_server

    servers: list[GrpcServer | RestServer] = []  # the servers that have started, which must be stopped
    addresses = []
    try:
        if options.port or options.grpc_socket_path:
            with _port_errors(options.host, options.port):
                grpc = grpc_server(options, models, recorder)
                grpc.start()
            servers.append(grpc)
            addresses.append(f"gRPC at {_grpc_address(options)}")
        if listener is not None:
            rest = rest_server(options, models, recorder, listener)
            with _port_errors(options.host, options.rest_api_port):
                rest.start()
            servers.append(rest)
            first = models.names()[0] if models.names() else "MODEL"
            addresses.append(f"REST at http://{options.host}:{options.rest_api_port}/v1/models/{first}")
        print(f"serving {', '.join(models.names())}: {', '.join(addresses)}", flush=True)
        stop.wait()
        print(f"stopping: running requests have {options.grace_seconds:g} s to end", file=sys.stderr, flush=True)
    finally:
        stopping = [threading.Thread(target=server.stop, args=(options.grace_seconds,)) for server in servers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


@contextmanager
def _port_errors(host: str, port: int) -> Iterator[None]:
    """Report that another program listens on the port; it may have started after the port was reserved."""
    try:
        yield
    except (RuntimeError, OSError) as error:  # RuntimeError: grpcio
        raise StartError(_taken(host, port)) from error


def _grpc_address(options: ServerOptions) -> str:
    port = f"{options.host}:{options.port}" if options.port else ""
    return " and ".join(filter(None, (port, options.grpc_socket_path)))


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
