"""The gRPC door, on grpcio's threaded server."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from .errors import ServingError
from .grpc_service import Method

log = logging.getLogger("hangtag.serving")

MAX_MESSAGE_BYTES = 256 << 20
_LONGEST_DETAILS = 1024  # tensorflow_serving/model_servers/grpc_status_util.cc


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Looks up a method by its full name; bytes in, bytes out."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._handlers = {
            name: grpc.unary_unary_rpc_method_handler(_answering(method)) for name, method in methods.items()
        }

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _answering(method: Method) -> Any:
    def answer(body: bytes, context: Any) -> bytes:
        try:
            return method(body)
        except ServingError as error:
            words = error.message
            if len(words) > _LONGEST_DETAILS:
                words = words[:_LONGEST_DETAILS] + "...TRUNCATED"
            context.abort(grpc.StatusCode[error.code], words)
        except Exception:
            log.exception("a gRPC request failed")
            context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the reason")
        raise AssertionError("abort raises")

    return answer


class GrpcFront:
    """Listens from `start` to `stop`."""

    def __init__(self, host: str, port: int, methods: Mapping[str, Method]) -> None:
        threads = 4 * (os.cpu_count() or 1)  # the C++ server's own default
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            handlers=[_Handler(methods)],
            options=[
                ("grpc.so_reuseport", 0),  # two servers on one port would share the calls in silence
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def start(self) -> None:
        """Accept calls."""
        self._server.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cut them."""
        self._server.stop(grace).wait()
