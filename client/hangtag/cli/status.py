"""`hangtag status`, `wait` and `labels`: show what a running server knows about a model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from . import connection
from .terminal import colour, done, one_line

_COLOURS = {"AVAILABLE": "ok", "END": "fail"}


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    status = commands.add_parser(
        "status",
        description="Show the versions of a model and their states, newest first. The exit code is 1 if none is "
        "AVAILABLE.",
        examples=["hangtag status", "hangtag status --target http://localhost:8501 --model fashion --json"],
    )
    connection.add_server(status)
    status.add_argument("--json", action="store_true", help="print one JSON object per line")
    status.set_defaults(run=_status)

    wait = commands.add_parser(
        "wait",
        description="Wait until the server has loaded a version of the model that can serve requests.",
        examples=["hangtag wait --timeout 120", "hangtag wait --label stable && hangtag classify shoe.png"],
    )
    connection.add_server(wait, timeout=60.0, timeout_help="how long to wait (default %(default)g)")
    wait.set_defaults(run=_wait)

    labels = commands.add_parser(
        "labels",
        description="Print the class names of a model in label order, one per line.",
        examples=["hangtag labels", "hangtag labels --language zh --target localhost:8500"],
    )
    connection.add_server(labels)
    labels.set_defaults(run=_labels)


def _status(arguments: argparse.Namespace) -> int:
    with connection.client(arguments) as client:
        statuses = client.status()
    for status in statuses:
        if arguments.json:
            document = {"version": status.version, "state": status.state, "error_code": status.error_code}
            print(json.dumps(document | {"error_message": status.error_message}))
        else:
            state = colour(one_line(status.state), _COLOURS.get(status.state, "warn"))
            problem = "" if status.error_code == "OK" else f"  {status.error_code}: {status.error_message}"
            print(f"{status.version:>6}  {state}{one_line(problem)}")
    available = sum(status.state == "AVAILABLE" for status in statuses)
    done(
        f"{available} of {len(statuses)} versions of {arguments.model} are AVAILABLE",
        next_step="hangtag classify IMAGE" if available else "hangtag wait, or check the server's log",
    )
    return 0 if available else 1


def _wait(arguments: argparse.Namespace) -> int:
    with connection.client(arguments) as client:
        model = client.wait_ready(arguments.timeout)
    print(one_line(f"{model.name} version {model.version} is ready"))
    done("the model is available", next_step="hangtag classify IMAGE")
    return 0


def _labels(arguments: argparse.Namespace) -> int:
    with connection.client(arguments) as client:
        names = client.labels()
    print("\n".join(map(one_line, names)))
    done(f"{len(names):,} class names of {arguments.model}", next_step="hangtag classify IMAGE")
    return 0
