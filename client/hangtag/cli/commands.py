"""The client's commands: classify, status, wait, labels, compare, bench."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from . import connection
from .connection import DEFAULT_TARGET

if TYPE_CHECKING:
    from ..client import Client


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    classify = commands.add_parser("classify", help="name the class of images")
    classify.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="PNG or JPEG file, folder of them, glob, .npy or .npz of [N, height, width]; - is standard input: "
        "one of these, or names of files, one a line",
    )
    connection.add_server(classify, timeout_help="for each request (default %(default)g)")
    classify.add_argument("--top", metavar="K", type=int, default=1, help="show the K best classes (default 1)")
    form = classify.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a header")
    classify.add_argument("--output", metavar="FILE", help="write there; .jsonl and .csv choose their format")
    classify.add_argument("--resume", action="store_true", help="go on with the rows that --output has already")
    classify.add_argument("--prepare", choices=["photo"], help="make product photographs look like Fashion-MNIST")
    classify.add_argument("--plot", metavar="FILE", help="draw the images with their names and probabilities")
    classify.set_defaults(run=_classify)

    status = commands.add_parser("status", help="show which versions of a model are being served")
    connection.add_server(status)
    status.add_argument("--json", action="store_true", help="one JSON object a line")
    status.set_defaults(run=_status)

    wait = commands.add_parser("wait", help="wait until a model can answer")
    connection.add_server(wait, timeout=60.0)
    wait.set_defaults(run=_wait)

    labels = commands.add_parser("labels", help="print the class names of a model, one a line")
    connection.add_server(labels)
    labels.set_defaults(run=_labels)

    compare = commands.add_parser("compare", help="two versions, labels or servers on the same images")
    compare.add_argument("images", metavar="IMAGE", nargs="+", help="files, folders, globs, or one .npy or .npz")
    compare.add_argument("--target", action="append", help=f"twice to compare servers (default {DEFAULT_TARGET})")
    compare.add_argument(
        "--version", action="append", type=int, default=[], metavar="N", help="twice to compare versions"
    )
    compare.add_argument("--label", action="append", default=[], help="twice to compare labelled versions")
    compare.add_argument("--model", default="fashion", help="the model's name on the server (default fashion)")
    compare.add_argument("--truth", metavar="FILE.npy", help="true labels as numbers (default: names of the folders)")
    compare.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for each call (default 10)")
    compare.add_argument("--json", action="store_true", help="one JSON object")
    connection.add_trust(compare)
    compare.set_defaults(run=_compare)

    bench = commands.add_parser("bench", help="load a running server and measure it")
    connection.add_server(bench, timeout_help="for each request (default %(default)g)")
    bench.add_argument("--images", metavar="FILE.npy", help="what to send (default: made up from the signature)")
    bench.add_argument("--batch-size", metavar="N", type=int, default=1, help="images a request (default 1)")
    bench.add_argument(
        "--concurrency", metavar="N,N,…", default="1,2,4,8", help="callers, step by step (default %(default)s)"
    )
    bench.add_argument(
        "--rate", metavar="R,R,…", help="open loop: requests a second, step by step, by at most --concurrency callers"
    )
    bench.add_argument("--duration", metavar="SECONDS", type=float, default=5.0, help="of each step (default 5)")
    bench.add_argument("--warm-up", metavar="SECONDS", type=float, default=1.0, help="before the first (default 1)")
    bench.add_argument("--json", action="store_true", help="one JSON object a step")
    bench.set_defaults(run=_bench)


def _classify(arguments: argparse.Namespace) -> int:
    from .classify import classify

    return classify(arguments, connection.client(arguments))


def _status(arguments: argparse.Namespace) -> int:
    from .output import one_line

    with connection.client(arguments) as client:
        statuses = client.status()
    for status in statuses:
        if arguments.json:
            document = {"version": status.version, "state": status.state, "error_code": status.error_code}
            print(json.dumps(document | {"error_message": status.error_message}))
        else:
            trouble = "" if status.error_code == "OK" else f"  {status.error_code}: {status.error_message}"
            print(one_line(f"{status.version:>6}  {status.state}{trouble}"))
    return 0 if any(status.state == "AVAILABLE" for status in statuses) else 1


def _wait(arguments: argparse.Namespace) -> int:
    with connection.client(arguments) as client:
        model = client.wait_ready(arguments.timeout)
    print(f"{model.name} version {model.version} is ready")
    return 0


def _labels(arguments: argparse.Namespace) -> int:
    from .output import one_line

    with connection.client(arguments) as client:
        print("\n".join(map(one_line, client.labels())))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from ..client import Client
    from .compare import run

    arguments.target = arguments.target or [DEFAULT_TARGET]
    trust = connection.trust(arguments)

    def connect(target: str, version: int | None = None, version_label: str | None = None) -> Client:
        which: dict[str, Any] = {"version": version, "version_label": version_label}
        return Client(target, model=arguments.model, timeout=arguments.timeout, **which, **trust)

    return run(arguments, connect)


def _bench(arguments: argparse.Namespace) -> int:
    from .bench import bench

    return bench(arguments, lambda concurrency: connection.client(arguments, retries=0, concurrency=concurrency))
