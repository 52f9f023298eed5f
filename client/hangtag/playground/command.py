"""`hangtag playground`: flags, and a server that runs until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import signal
from typing import Any

from ..cli import connection
from ..errors import HangtagError
from ..optional import require


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "playground",
        description="Serve a local web page for a running model server: classify images, drawings and photos, compare "
        "two versions, evaluate labelled images, and watch versions and latency.",
        examples=["hangtag playground", "hangtag playground --target tf.example.org:8500 --model fashion --tls"],
    )
    parser.add_argument(
        "--target",
        action="append",
        help="server address: host:port for gRPC, http://host:port for REST; give both to use both. For port 8500 or "
        f"8501, the other one is added (default {connection.DEFAULT_TARGET})",
    )
    parser.add_argument("--model", action="append", help="model name on the server; may be repeated (default fashion)")
    parser.add_argument(
        "--label", action="append", help="version label to offer; may be repeated (default stable and canary)"
    )
    parser.add_argument(
        "--images",
        metavar="FILE.npz|FOLDER",
        help="test images: .npz file with `images` and `labels`, or one folder per class (default Fashion-MNIST's)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8600, help="port to listen on; 0 uses a free port (default 8600)")
    connection.add_timeout(parser)
    connection.add_trust(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until SIGINT or SIGTERM; returns the exit code."""
    for module in ("aiohttp", "PIL.Image"):
        require(module, extra="playground", what="hangtag playground")
    from . import samples
    from .model_server import ModelServer, both_protocols

    trust = connection.trust(arguments)
    servers = ModelServer(
        both_protocols(arguments.target or [connection.DEFAULT_TARGET], encrypted=trust["tls"] is not None),
        models=arguments.model or ["fashion"],
        labels=arguments.label or ["stable", "canary"],
        timeout=arguments.timeout,
        **trust,
    )
    return asyncio.run(_serve(servers, samples.load(arguments.images), arguments.host, arguments.port))


async def _serve(servers: Any, images: Any, host: str, port: int) -> int:
    from aiohttp import web

    from .server import application

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(application(servers, images, host), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            in_use = getattr(error, "errno", None) == errno.EADDRINUSE
            message = "it is in use; give another with --port, or 0 for a free one" if in_use else str(error)
            raise HangtagError(f"cannot listen on port {port} of {host}: {message}") from error
        address = ipaddress.ip_address(runner.addresses[0][0])
        shown = "localhost" if address.is_unspecified else f"[{host}]" if ":" in host else host
        print(f"playground: http://{shown}:{runner.addresses[0][1]}/ (Ctrl-C stops it)", flush=True)
        if not address.is_loopback:
            print("playground: other machines can open this page, and it has no password", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
    return 0
