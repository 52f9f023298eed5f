"""Reads the model config file repeatedly, and applies its changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from hangtag.errors import InvalidInput

from ..errors import ServingError
from .model_config import read_config
from .registry import Models

log = logging.getLogger("hangtag.serving")


def watch_config(
    models: Models, file: Path, seconds: float, path_map: Mapping[str, Path], stop: threading.Event
) -> None:
    """Start a thread that reads `file` every `seconds` until `stop` is set.

    An error in the file is logged once each time that the file is written; it changes nothing that is served.
    """

    def watch() -> None:
        last_error = None
        while not stop.wait(seconds):
            written = _written(file)
            try:
                models.apply(read_config(file, path_map))
                last_error = None
            except Exception as error:  # no content of the file may end the thread
                text = str(error) if isinstance(error, (ServingError, InvalidInput)) else repr(error)
                if (text, written) != last_error:
                    log.error(
                        "the model config file %s is not applied, the served models do not change: %s", file, text
                    )
                last_error = (text, written)

    threading.Thread(target=watch, name="config", daemon=True).start()


def _written(file: Path) -> int:
    """The file's modification time in nanoseconds; 0 if the file is missing."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
