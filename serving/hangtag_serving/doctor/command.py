"""The command line of `hangtag doctor`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..flags import path_map
from .findings import FAIL, Finding


def register(commands: Any) -> None:
    """Add the command to the command line."""
    doctor = commands.add_parser("doctor", help="say what would go wrong with models, a config file or a server")
    doctor.add_argument(
        "subject",
        metavar="WHAT",
        nargs="?",
        default="models/fashion",
        help="a base path, a models.config, a compose or Kubernetes file, or a server's host:port or http://host:port "
        "(default %(default)s)",
    )
    doctor.add_argument("--model", default="fashion", help="the model's name on the server (default %(default)s)")
    doctor.add_argument(
        "--path_map",
        type=path_map,
        action="append",
        default=[],
        metavar="/models=DIR",
        help="where a base path of the config lies on this machine",
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object a line")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    # TensorFlow calls the Session API deprecated; it is what the C++ server serves with.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    failed = False
    for finding in _examine(arguments):
        print(json.dumps(finding.document(), ensure_ascii=False) if arguments.json else finding.line(), flush=True)
        failed = failed or finding.level == FAIL
    return 1 if failed else 0


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    subject = arguments.subject
    path = Path(subject)
    if path.is_dir():
        _require_serving("on models")
        from .base_path import examine_base_path

        return examine_base_path(path.absolute())
    if path.suffix in (".yaml", ".yml"):
        from .deployment import examine_deployment

        return examine_deployment(path)
    if path.is_file():
        _require_serving("on a model config file")
        from .config_file import examine_config

        return examine_config(path, dict(arguments.path_map))
    if "/" in subject and "://" not in subject and not subject.startswith("unix:"):
        raise InvalidInput(f"{subject} is not there: give a base path, a file, or a server's host:port")
    from .running_server import examine_server

    return examine_server(subject, arguments.model)


def _require_serving(subject: str) -> None:
    """Raise MissingExtra now, in words about the doctor: what it looks with is the server's, and would name that."""
    require("simdjson", extra="serving", what=f"hangtag doctor {subject}")  # cheap to import, only the extra brings it
