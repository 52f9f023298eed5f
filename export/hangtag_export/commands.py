"""The export room's commands: export and versions."""

from __future__ import annotations

from typing import Any

from . import export_command, versions_command


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    export_command.register(commands)
    versions_command.register(commands)
