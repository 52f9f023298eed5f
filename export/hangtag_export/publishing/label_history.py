"""The history of a label's versions, in `NAME.history` beside the config file: one JSON object per line and move.

A promotion writes the move here first, then changes the config. A rollback changes the config first, then removes the
move. Both may be interrupted between the two steps. So a last move is ignored if it begins at the label's current
version and does not end there: it has not happened, or it was rolled back.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .model_config import ModelConfig, replace


class LabelHistory:
    """The moves of one label of one model."""

    def __init__(self, config: ModelConfig, label: str) -> None:
        """Read the history. Raises ConfigError when it cannot be read."""
        path = Path(os.path.realpath(config.path))
        self._file = path.with_name(f"{path.name}.history")
        self._model, self._label = config.model, label
        entries = self._read()
        self._others = [entry for entry in entries if not self._is_mine(entry)]
        self._mine = [entry for entry in entries if self._is_mine(entry)]
        current = config.labels.get(label)
        while self._mine and self._mine[-1]["to"] != current and self._mine[-1]["from"] == current:
            self._mine.pop()
        self._is_known = bool(self._mine) and self._mine[-1]["to"] == current

    def previous(self) -> int | None:
        """The label's previous version; None if it is unknown, for example after a manual change."""
        return int(self._mine[-1]["from"]) if self._is_known else None

    def add(self, left: int, version: int) -> None:
        """Write a move from `left` to `version`. Call this before the config is changed."""
        now = datetime.now(UTC).isoformat()
        entry = {"time": now, "model": self._model, "label": self._label, "from": left, "to": version}
        self._mine.append(entry)
        self._write()

    def remove_last(self) -> None:
        """Remove the last move. Call this after the config was changed back."""
        self._mine.pop()
        self._write()

    def _is_mine(self, entry: dict[str, Any]) -> bool:
        return (entry["model"], entry["label"]) == (self._model, self._label)

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
            for entry in entries:
                int(entry["from"]), int(entry["to"]), entry["model"], entry["label"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise ConfigError(
                f"{self._file} is not a history of labels ({type(error).__name__}: {error}): delete it, and move the "
                "label with `hangtag versions promote N`"
            ) from error
        return entries

    def _write(self) -> None:
        replace(self._file, "".join(json.dumps(entry) + "\n" for entry in [*self._others, *self._mine]))
