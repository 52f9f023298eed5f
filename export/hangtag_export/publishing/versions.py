"""Lists the versions in a base path, and removes old ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..base_path import folders
from ..errors import ExportError
from ..savedmodel import card
from .atomic import hide, sweep
from .locks import locked_base_path, locked_config
from .model_config import ModelConfig


@dataclass(frozen=True)
class Listed:
    """One version: `created` and `test_accuracy` are None if it has no model card; `size` is in bytes."""

    version: int
    created: str | None
    test_accuracy: float | None
    size: int
    labels: tuple[str, ...]


def list_versions(base_path: Path, labels: Mapping[str, int]) -> list[Listed]:
    """All versions, ascending. `labels` is version label to number."""
    return [_listed(version, folder, labels) for version, folder in folders(base_path).items()]


def prune(base_path: Path, keep: int, config: ModelConfig | None) -> list[int]:
    """Remove all but the `keep` newest versions and those that `config` needs; returns the removed numbers.

    The config file is read again under its lock, so a version that was labelled meanwhile is not removed. Raises
    ConfigError, or ExportError if a version cannot be removed.
    """
    with ExitStack() as locks:
        try:
            locks.enter_context(locked_base_path(base_path))
            if config is not None:
                locks.enter_context(locked_config(config.path, only_read=True))
                config = ModelConfig(config.path, config.model)
            present = set(folders(base_path))
            needed = set(sorted(present)[-keep:])
            if config is not None:
                needed |= config.named() | config.wanted(present)
            removed = sorted(present - needed)
            sweep(base_path)
            hidden = hide(removed, base_path)
        except OSError as error:
            raise ExportError(f"cannot remove versions from {base_path}: {error.strerror}") from error
    for folder in hidden:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # an export that started meanwhile has removed it
            continue
        except OSError as error:
            raise ExportError(
                f"version {next(folder.iterdir(), folder).name} is no longer visible to servers, "
                f"but {folder} cannot be deleted: {error.strerror}"
            ) from error
    return removed


def _listed(version: int, folder: Path, labels: Mapping[str, int]) -> Listed:
    document = card.read(folder)
    created, accuracy = document.get("created"), document.get("test_accuracy")
    return Listed(
        version=version,
        created=created if isinstance(created, str) and created.isprintable() else None,
        test_accuracy=accuracy if isinstance(accuracy, float | int) else None,
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        labels=tuple(sorted(label for label, number in labels.items() if number == version)),
    )
