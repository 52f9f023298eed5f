"""What lies in a base path: the versions with what their cards say; and which of them may go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .atomic import folders, withdraw
from .model_config import ModelConfig

CARD = Path("assets.extra", "hangtag.json")
"""Where a version's card lies, in its folder."""


@dataclass(frozen=True)
class Listed:
    """One version: `created` and `test_accuracy` are None where there is no card; `size` is in bytes."""

    version: int
    created: str | None
    test_accuracy: float | None
    size: int
    labels: tuple[str, ...]


def read_card(folder: Path) -> dict[str, Any]:
    """What ``hangtag.json`` of a version says; empty if it has none that can be read."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def list_versions(base_path: Path, labels: Mapping[str, int]) -> list[Listed]:
    """All versions, ascending. `labels` is version label to number."""
    return [_listed(version, folder, labels) for version, folder in folders(base_path).items()]


def prune(base_path: Path, keep: int, config: ModelConfig | None) -> list[int]:
    """Remove all but the `keep` newest versions and those that `config` needs; return the numbers removed.

    Raises ExportError when one cannot be removed.
    """
    found = folders(base_path)
    needed = set(sorted(found)[-keep:])
    if config is not None:
        needed |= config.named() | config.wanted(set(found))
    gone = []
    for version in sorted(set(found) - needed):
        try:
            withdraw(version, base_path)
        except OSError as error:
            raise ExportError(f"cannot remove {found[version]}: {error.strerror}") from error
        gone.append(version)
    return gone


def _listed(version: int, folder: Path, labels: Mapping[str, int]) -> Listed:
    card = read_card(folder)
    return Listed(
        version=version,
        created=card.get("created"),
        test_accuracy=card.get("test_accuracy"),
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        labels=tuple(sorted(label for label, number in labels.items() if number == version)),
    )
