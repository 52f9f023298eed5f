"""Reads the model config file again and again, and applies what is new in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from hangtag.errors import InvalidInput

from ..config_files import read_config
from ..errors import ServingError
from .registry import Models

log = logging.getLogger("hangtag.serving")


def watch_config(
    models: Models, file: Path, seconds: float, path_map: Mapping[str, Path], stop: threading.Event
) -> None:
    """Start a thread that reads `file` every `seconds` until `stop` is set.

    A file that is wrong is logged, once for each text of the error, and what is served stays.
    """

    def watch() -> None:
        last_error = ""
        while not stop.wait(seconds):
            try:
                models.apply(read_config(file, path_map))
                last_error = ""
            except Exception as error:  # nothing in a file may end the thread
                text = str(error) if isinstance(error, (ServingError, InvalidInput)) else repr(error)
                if text != last_error:
                    log.error("the model config file %s is not applied, what is served stays: %s", file, text)
                last_error = text

    threading.Thread(target=watch, name="config", daemon=True).start()
