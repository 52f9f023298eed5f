"""The command `hangtag serve`, whose flags have the names and meanings of tensorflow_model_server's."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from .flags import WITHOUT_EFFECT, add_flags
from .models.version_policy import scan

_NO_VERSION = (
    "{base_path} has no version of a model yet. Create one in a second terminal, and it is served at once: "
    "hangtag export --base-path {base_path} (trains on Fashion-MNIST), or hangtag publish MODEL.keras"
)


def register(commands: Any) -> None:
    """Add the command to the command line."""
    serve = commands.add_parser(
        "serve",
        description="Serve models like TensorFlow Serving, without Docker, until Ctrl-C. Flags of "
        "tensorflow_model_server have the same names and meanings.",
        examples=[
            "hangtag serve",
            "hangtag serve --model_base_path=models/goods --port=8500 --rest_api_port=8501",
        ],
    )
    add_flags(serve)
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.version:
        return _print_versions()
    from hangtag.optional import require

    require("simdjson", extra="serving", what="hangtag serve")  # checks for the extra: quick to import, and only there
    from .errors import ServingError
    from .server.options import from_flags
    from .server.process import StartError, serve

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname).1s %(message)s")
    log = logging.getLogger("hangtag.serving")
    log.setLevel(logging.INFO)
    # TensorFlow warns that the Session API is deprecated, but the C++ server uses it too.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for name in WITHOUT_EFFECT:
        if getattr(arguments, name) is not None:
            log.warning("--%s is accepted but has no effect in this server", name)
    try:
        options = from_flags(arguments)
    except ServingError as error:
        raise StartError(f"Failed to start server. Error: {error.code}: {error.message}") from error
    base_path = options.models[0].base_path
    is_version = (base_path / "saved_model.pb").exists()  # the loader has a better hint for this
    if options.config_file is None and not is_version and not _has_version(base_path):
        log.warning(_NO_VERSION.format(base_path=_short(base_path)))
    return serve(options)


def _has_version(base_path: Path) -> bool:
    try:
        return bool(scan(base_path))
    except OSError:
        return False


def _short(path: Path) -> Path:
    """As a user would write it: relative to the current folder, if the path is inside it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _print_versions() -> int:
    from importlib.metadata import version

    print(f"hangtag {version('hangtag')}\nTensorFlow {version('tensorflow')}")
    return 0
