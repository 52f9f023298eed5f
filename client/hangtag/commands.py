"""The client's commands: classify, status, wait, labels."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .results import Classification

DEFAULT_TARGET = "localhost:8500"


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    classify = commands.add_parser("classify", help="name the class of PNG or JPEG files")
    classify.add_argument("images", metavar="IMAGE", nargs="+", help="PNG or JPEG files")
    _add_server(classify)
    classify.add_argument("--top", metavar="K", type=int, default=1, help="show the K best classes (default 1)")
    classify.add_argument("--json", action="store_true", help="one JSON object a line")
    classify.add_argument("--plot", metavar="FILE", help="draw the images with their names and probabilities")
    classify.set_defaults(run=_classify)

    status = commands.add_parser("status", help="show which versions of a model are being served")
    _add_server(status)
    status.add_argument("--json", action="store_true", help="one JSON object a line")
    status.set_defaults(run=_status)

    wait = commands.add_parser("wait", help="wait until a model can answer")
    _add_server(wait, timeout=60.0)
    wait.set_defaults(run=_wait)

    labels = commands.add_parser("labels", help="print the class names of a model, one a line")
    _add_server(labels)
    labels.set_defaults(run=_labels)


def _add_server(parser: argparse.ArgumentParser, timeout: float = 10.0) -> None:
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        help=f"host:port for gRPC, http://host:port for REST (default {DEFAULT_TARGET})",
    )
    parser.add_argument("--model", default="fashion", help="the model's name on the server (default fashion)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="this version, not the newest")
    which.add_argument("--label", metavar="LABEL", help="the version with this label, for instance stable")
    parser.add_argument(
        "--language", choices=("en", "zh"), default="en", help="of the Fashion-MNIST names (default en)"
    )
    parser.add_argument(
        "--timeout", type=float, default=timeout, metavar="SECONDS", help="for all of it (default %(default)g)"
    )


def _client(arguments: argparse.Namespace) -> Client:
    from .client import Client

    return Client(
        arguments.target,
        model=arguments.model,
        version=arguments.version,
        version_label=arguments.label,
        language=arguments.language,
        timeout=arguments.timeout,
    )


def _classify(arguments: argparse.Namespace) -> int:
    from .errors import InvalidInput

    if arguments.top < 1:
        raise InvalidInput(f"--top is {arguments.top}: give 1 or more")
    with _client(arguments) as client:
        result = client.classify(arguments.images)
    if arguments.json:
        for name, row in zip(arguments.images, result, strict=True):
            top = [{"label": label, "score": score} for label, score in row.top(arguments.top)]
            document = {"image": name, "label": row.label, "score": row.score, "top": top}
            print(json.dumps(document | {"model_version": result.model_version}, ensure_ascii=False))
    else:
        _print_table(arguments.images, result, arguments.top)
    if arguments.plot:
        from .pictures import draw_predictions, read_image

        draw_predictions([read_image(name) for name in arguments.images], result, arguments.plot)
    return 0


def _print_table(names: list[str], result: Classification, k: int) -> None:
    width = max(len(name) for name in names)
    for name, row in zip(names, result, strict=True):
        best = "   ".join(f"{label} {score:.1%}" for label, score in row.top(k))
        print(f"{name:{width}}  {best}")


def _status(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        statuses = client.status()
    for status in statuses:
        if arguments.json:
            document = {"version": status.version, "state": status.state, "error_code": status.error_code}
            print(json.dumps(document | {"error_message": status.error_message}))
        else:
            trouble = "" if status.error_code == "OK" else f"  {status.error_code}: {status.error_message}"
            print(f"{status.version:>6}  {status.state}{trouble}")
    return 0 if any(status.state == "AVAILABLE" for status in statuses) else 1


def _wait(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        model = client.wait_ready(arguments.timeout)
    print(f"{model.name} version {model.version} is ready")
    return 0


def _labels(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        print("\n".join(client.labels()))
    return 0
