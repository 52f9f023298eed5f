"""The command `hangtag versions`: list, prune, promote, rollback."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hangtag.cli.terminal import counted, done

from . import argument_types

if TYPE_CHECKING:
    from ..publishing.labels import NoServer, Place, Watch
    from ..publishing.model_config import ModelConfig


def register(commands: Any) -> None:
    """Add the command to the command line."""
    versions = commands.add_parser(
        "versions",
        description="List published versions, remove old ones, and choose the version that a label points to.",
        examples=[
            "hangtag versions list --config models.config",
            "hangtag versions promote 3 --config models.config --target localhost:8500",
        ],
    )
    actions = versions.add_subparsers(metavar="ACTION", required=True)

    listing = actions.add_parser(
        "list",
        help="list the versions with date, accuracy, size and labels",
        description="List the versions in a base path, oldest first.",
        examples=["hangtag versions list --model-name goods", "hangtag versions list --config models.config --json"],
    )
    _add_place(listing, config_required=False)
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run=_list)

    prune = actions.add_parser(
        "prune",
        help="remove old versions that the config does not need",
        description="Remove all but the newest versions. A version that the model config serves or labels is never "
        "removed.",
        examples=[
            "hangtag versions prune --keep 3 --config models.config",
            "hangtag versions prune --keep 1 --config none",
        ],
    )
    _add_place(
        prune,
        config_required=False,
        config_help=f"model config file whose versions must not be removed; `{argument_types.NONE}` if there is none",
    )
    prune.add_argument(
        "--keep",
        type=argument_types.positive,
        required=True,
        metavar="N",
        help="how many of the newest versions to keep",
    )
    prune.set_defaults(run=_prune)

    promote = actions.add_parser(
        "promote",
        help="point a label to a version",
        description="Point a label to a version: add the version to the config, wait until the server has loaded it, "
        "and then move the label. Clients that give no label get the newest version that is loaded, so they may switch "
        "before the label moves; the command reports that.",
        examples=[
            "hangtag versions promote 3 --config models.config --target localhost:8500",
            "hangtag versions promote 4 --label canary --config models.config --target none",
        ],
    )
    promote.add_argument("number", type=argument_types.positive, metavar="N", help="number of the version")
    _add_place(promote, config_required=True)
    _add_watch(promote)
    promote.set_defaults(run=_promote)

    rollback = actions.add_parser(
        "rollback",
        help="point a label back to its previous version",
        description="Point a label back to the version it had before the last promotion, and unload the current one.",
        examples=[
            "hangtag versions rollback --config models.config --target localhost:8500",
            "hangtag versions rollback --label canary --config models.config --target none",
        ],
    )
    _add_place(rollback, config_required=True)
    _add_watch(rollback)
    rollback.set_defaults(run=_rollback)


def _add_place(
    parser: argparse.ArgumentParser,
    *,
    config_required: bool,
    config_help: str = "model config file of TensorFlow Serving",
) -> None:
    parser.add_argument(
        "--model-name",
        type=argument_types.model_name,
        default="fashion",
        metavar="NAME",
        help="name of the model (default %(default)s)",
    )
    parser.add_argument(
        "--base-path",
        type=argument_types.path,
        metavar="DIR",
        help="folder that holds the versions (default: as in the config, or models/NAME)",
    )
    parser.add_argument(
        "--config", type=argument_types.path, required=config_required, metavar="FILE", help=config_help
    )


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label",
        type=argument_types.label,
        default="stable",
        metavar="LABEL",
        help="version label to move (default %(default)s)",
    )
    parser.add_argument(
        "--target",
        metavar="TARGET",
        help="address of the server that reads the config; the command waits until the version is AVAILABLE there, "
        f"moves the label, and waits until the server uses it; `{argument_types.NONE}` if no server reads the config "
        "now",
    )
    parser.add_argument(
        "--timeout",
        type=argument_types.above_zero,
        default=300.0,
        metavar="SECONDS",
        help="how long to wait for each step (default %(default)g)",
    )


def _list(arguments: argparse.Namespace) -> int:
    from ..publishing.versions import list_versions

    config = _config(arguments)
    listed = list_versions(_base_path(arguments, config), {} if config is None else config.labels)
    if arguments.json:
        for version in listed:
            print(json.dumps(asdict(version), ensure_ascii=False))
        return 0
    print(f"{'version':>7}  {'created':25}  {'accuracy':>8}  {'size':>9}  labels")
    for version in listed:
        accuracy = "-" if version.test_accuracy is None else f"{version.test_accuracy:.4f}"
        size = f"{version.size / 1e6:.2f} MB"
        labels = ", ".join(version.labels) or "-"
        print(f"{version.version:>7}  {version.created or '-':25}  {accuracy:>8}  {size:>9}  {labels}")
    done(counted(len(listed), "version"), next_step="hangtag versions promote, rollback or prune")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    from ..publishing.versions import prune

    arguments.config = argument_types.config_for_keep(arguments.config)
    config = _config(arguments)
    base_path = _base_path(arguments, config)
    removed = prune(base_path, arguments.keep, config)
    print(f"removed {', '.join(map(str, removed)) or 'nothing'}")
    done(f"{counted(len(removed), 'version')} removed from {base_path}", next_step="hangtag versions list")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from ..publishing.labels import promote

    with _Server(arguments) as watch:
        moved = promote(arguments.number, _place(arguments), watch, _say)
    if moved:
        undo = f"hangtag versions rollback --label {arguments.label} --config {arguments.config}"
        done(f"{arguments.label} is version {arguments.number}", next_step=f"{undo}, to undo this")
    else:
        _say(f"step 2 of 2: when version {arguments.number} is AVAILABLE, run this again (or give --target)")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from ..publishing.labels import rollback

    with _Server(arguments) as watch:
        moved = rollback(_place(arguments), watch, _say)
    if moved:
        done(
            f"{arguments.label} is at its previous version", next_step=f"hangtag status --model {arguments.model_name}"
        )
    else:
        _say("step 2 of 2: when that version is AVAILABLE, run this again (or give --target)")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _config(arguments: argparse.Namespace) -> ModelConfig | None:
    from ..publishing.model_config import ModelConfig

    return None if arguments.config is None else ModelConfig(arguments.config, arguments.model_name)


def _base_path(arguments: argparse.Namespace, config: ModelConfig | None) -> Path:
    """The given base path, or the config's if it exists on this machine, or models/NAME."""
    from ..base_path import check_base_path, versions
    from ..errors import DataError

    base_path: Path = arguments.base_path or Path("models", arguments.model_name)
    if arguments.base_path is None and config is not None and config.base_path.is_dir():
        base_path = config.base_path
    if not base_path.is_dir():
        raise DataError(f"there is no folder {base_path}: give --base-path, the folder of the versions")
    check_base_path(base_path)
    if not versions(base_path):
        raise DataError(f"{base_path} has no version (a folder whose name is a number): give --base-path")
    return base_path


def _place(arguments: argparse.Namespace) -> Place:
    from ..publishing.labels import Place

    config = _config(arguments) if arguments.config.exists() else None
    return Place(arguments.config, arguments.model_name, arguments.label, _base_path(arguments, config))


class _Server:
    """A context manager that gives a watch on the server at `--target`, or None without a target."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._clients = ExitStack()

    def __enter__(self) -> Watch | NoServer | None:
        from hangtag import Client

        from ..publishing.labels import NO_SERVER, Watch

        arguments = self._arguments
        if arguments.target is None:
            return None
        if arguments.target == argument_types.NONE:
            return NO_SERVER

        def client(**options: Any) -> Client:
            return self._clients.enter_context(Client(arguments.target, model=arguments.model_name, **options))

        self._client, self._by_label = client(), client(version_label=arguments.label, retries=0)
        return Watch(self._is_available, self._labelled, arguments.timeout)

    def __exit__(self, *_: object) -> None:
        self._clients.close()

    def _is_available(self, version: int) -> bool:
        from hangtag.errors import ModelNotFound

        from ..errors import PromotionError

        try:
            statuses = {status.version: status for status in self._client.status()}
        except ModelNotFound:  # the server is starting
            return False
        status = statuses.get(version)
        if status is not None and status.error_code != "OK":
            raise PromotionError(
                f"the server cannot load version {version} ({status.error_code}: {status.error_message}), "
                f"so {self._arguments.label} was not moved"
            )
        return status is not None and status.state == "AVAILABLE"

    def _labelled(self) -> int | None:
        from hangtag.errors import ModelNotFound, ServerUnavailable

        try:
            return self._by_label.metadata().version
        except (ModelNotFound, ServerUnavailable):  # UNAVAILABLE: "Model labels does not init yet", for the first label
            return None
