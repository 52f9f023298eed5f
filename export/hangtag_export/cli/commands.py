"""The export room's commands: export and versions."""

from __future__ import annotations

from typing import Any

from . import export, versions


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    export.register(commands)
    versions.register(commands)
