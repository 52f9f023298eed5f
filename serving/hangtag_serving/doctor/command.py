"""The command line of `hangtag doctor`."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hangtag.cli.terminal import colour, counted, done, one_line
from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..flags import path_map
from . import FAIL, Finding

_ADDRESS = re.compile(r"localhost|.*:\d+|.*://.*|(unix|dns|ipv4|ipv6):.*")
_COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


def register(commands: Any) -> None:
    """Add the command to the command line."""
    doctor = commands.add_parser(
        "doctor",
        description="Find problems in models, config files, deployment files and running servers. The exit code is 1 "
        "if something would fail.",
        examples=[
            "hangtag doctor models/fashion serving/docker/compose.yaml",
            "hangtag doctor localhost:8500 --model fashion",
        ],
    )
    doctor.add_argument(
        "subjects",
        metavar="WHAT",
        nargs="*",
        default=["models/fashion"],
        help="base path, model config file, compose file (followed by its overrides), Kubernetes file, kustomize "
        "folder, or server address: host:port or http://host:port (default models/fashion)",
    )
    doctor.add_argument("--model", default="fashion", help="model name on the server (default %(default)s)")
    doctor.add_argument(
        "--path_map",
        type=path_map,
        action="append",
        default=[],
        metavar="/models=DIR",
        help="local folder for a path in the config, as in a container; may be repeated",
    )
    doctor.add_argument(
        "--cluster",
        action="store_true",
        help="check that the objects that a kustomize folder needs exist in kubectl's current cluster",
    )
    doctor.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help="listen here and serve Prometheus metrics about missing versions of a running server, instead of a report",
    )
    doctor.add_argument(
        "--config", type=Path, metavar="FILE", help="model config file that the server reads (with --metrics)"
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object per line")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    # TensorFlow warns that the Session API is deprecated, but the C++ server uses it too.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if arguments.metrics is not None:
        return _serve_metrics(arguments)
    failures = 0
    for finding in _examine(arguments):
        print(json.dumps(finding.document(), ensure_ascii=False) if arguments.json else _line(finding), flush=True)
        failures += finding.level == FAIL
    done(f"found {counted(failures, 'problem')}", next_step="" if failures else "hangtag status")
    return 1 if failures else 0


def _serve_metrics(arguments: argparse.Namespace) -> int:
    if len(arguments.subjects) != 1 or not _ADDRESS.fullmatch(arguments.subjects[0]):
        raise InvalidInput("--metrics needs one running server: give its host:port or http://host:port")
    from .metrics import from_environment, serve_metrics

    source = from_environment(arguments.config, arguments.model, dict(arguments.path_map))
    return serve_metrics(arguments.metrics, arguments.subjects[0], source)


def _line(finding: Finding) -> str:
    return colour(f"{finding.level:4}", finding.level) + one_line(finding.line()[4:])


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Examine all subjects. Consecutive YAML files are examined together, as compose reads them."""
    if "" in arguments.subjects:
        raise InvalidInput("a path is empty: give a base path, a file, or a server's host:port")
    for is_yaml, subjects in groupby(arguments.subjects, lambda subject: subject.endswith((".yaml", ".yml"))):
        if is_yaml:
            yield from _examine_files([_existing(subject) for subject in subjects], arguments)
        else:
            for subject in subjects:
                yield from _examine_one(subject, arguments)


def _examine_files(paths: Sequence[Path], arguments: argparse.Namespace) -> Iterator[Finding]:
    from .deployment import examine_deployment

    yield from examine_deployment(*paths, cluster=arguments.cluster)


def _examine_one(subject: str, arguments: argparse.Namespace) -> Iterator[Finding]:
    if not Path(subject).exists() and _ADDRESS.fullmatch(subject):
        from .running_server import examine_server

        return examine_server(subject, arguments.model)
    path = _existing(subject)
    if path.is_dir():
        return _examine_folder(path.absolute(), arguments)
    from .model_files import MODEL_SUFFIXES, examine_config

    if path.suffix.lower() in MODEL_SUFFIXES:
        raise InvalidInput(f"{subject} is a Keras model, not a served version: hangtag publish {subject}")
    _require_serving("on a model config file")
    return examine_config(path, dict(arguments.path_map))


def _examine_folder(folder: Path, arguments: argparse.Namespace) -> Iterator[Finding]:
    from .deployment import is_kustomization

    compose = [folder / name for name in _COMPOSE_NAMES if (folder / name).is_file()]
    if is_kustomization(folder) or compose:
        return _examine_files(compose[:1] or [folder], arguments)
    _require_serving("on models")
    from .model_files import examine_base_path

    return examine_base_path(folder)


def _existing(subject: str) -> Path:
    path = Path(subject)
    if not path.exists():
        raise InvalidInput(f"{subject} does not exist: give a base path, a file, or a server's host:port")
    return path


def _require_serving(subject: str) -> None:
    """Raise MissingExtra for the doctor now; the server's modules would raise it for the server."""
    require("simdjson", extra="serving", what=f"hangtag doctor {subject}")  # quick to import, and only in the extra
