"""The serving room's command: serve. Flags are named and meant as tensorflow_model_server's."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any


def register(commands: Any) -> None:
    """Add the command to the command line."""
    serve = commands.add_parser("serve", help="serve models as TensorFlow Serving does, without Docker")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)"
    )
    serve.add_argument("--port", type=int, default=8500, help="of gRPC; 0 is off (default %(default)s)")
    serve.add_argument("--rest_api_port", type=int, default=8501, help="of REST; 0 is off (default %(default)s)")
    serve.add_argument("--model_name", help="default: the last folder of the base path")
    serve.add_argument(
        "--model_base_path", type=Path, default=Path("models/fashion"), help="folder of versions (default %(default)s)"
    )
    serve.add_argument(
        "--file_system_poll_wait_seconds", type=float, default=1.0, help="between two looks for versions (default 1)"
    )
    serve.add_argument("--max_num_load_retries", type=int, default=5, help="for a version that fails (default 5)")
    serve.add_argument(
        "--load_retry_interval_micros", type=int, default=60_000_000, help="between two tries (default 60000000)"
    )
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from .server import ServerOptions, serve

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname).1s %(message)s")
    logging.getLogger("hangtag.serving").setLevel(logging.INFO)
    logging.getLogger("tensorflow").setLevel(
        logging.ERROR
    )  # the Session API is deprecated, and is what C++ serves with
    base_path = arguments.model_base_path.absolute()
    return serve(
        ServerOptions(
            model_name=arguments.model_name or base_path.name,
            model_base_path=base_path,
            host=arguments.host,
            port=arguments.port,
            rest_api_port=arguments.rest_api_port,
            file_system_poll_wait_seconds=arguments.file_system_poll_wait_seconds,
            max_num_load_retries=arguments.max_num_load_retries,
            load_retry_interval_seconds=arguments.load_retry_interval_micros / 1e6,
        )
    )
