"""Reads the model config file again and again, and applies what is new in it."""

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

    A file that is wrong is logged, once each time that it is written, and what is served stays.
    """

    def watch() -> None:
        last_error = None
        while not stop.wait(seconds):
            written = _written(file)
            try:
                models.apply(read_config(file, path_map))
                last_error = None
            except Exception as error:  # nothing in a file may end the thread
                text = str(error) if isinstance(error, (ServingError, InvalidInput)) else repr(error)
                if (text, written) != last_error:
                    log.error("the model config file %s is not applied, what is served stays: %s", file, text)
                last_error = (text, written)

    threading.Thread(target=watch, name="config", daemon=True).start()


def _written(file: Path) -> int:
    """When the file was written, by the file system's clock; 0 if it is missing."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
