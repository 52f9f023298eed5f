"""Finds the versions of a model on disk, and chooses which of them to serve.

Semantics: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hangtag.contract import version_number

Versions = dict[int, Path]
Policy = Callable[[Versions], Versions]
"""Chooses the versions to serve from the versions on disk."""


def scan(base_path: Path) -> Versions:
    """Version number to folder, for every entry whose name is a version. Raises OSError if `base_path` is missing.

    If two names have the same number, the lexically last one wins. Files count too; the status shows that they fail to
    load.
    """
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names suffice
    except ValueError as error:  # a path in a config may contain NUL
        raise FileNotFoundError(errno.ENOENT, "No folder can have this name", str(base_path)) from error
    numbered = ((version_number(name), name) for name in names)
    return {number: base_path / name for number, name in numbered if number is not None}


@dataclass(frozen=True)
class Latest:
    """The policy "latest": the `count` highest versions; 0 counts as 1. One version is TensorFlow Serving's default."""

    count: int = 1

    def __call__(self, present: Versions) -> Versions:
        """The highest of the versions on disk."""
        return {version: present[version] for version in sorted(present)[-max(self.count, 1) :]}


@dataclass(frozen=True)
class Specific:
    """The policy "specific": these versions, if they are on disk."""

    versions: tuple[int, ...]

    def __call__(self, present: Versions) -> Versions:
        """The named versions that are on disk."""
        return {version: present[version] for version in self.versions if version in present}


def every_version(present: Versions) -> Versions:
    """The policy "all"."""
    return present


def why_none(name: str, base_path: Path, present: Versions, aspired: Versions) -> str:
    """Why a model has no version to serve, and advice; empty if it has one."""
    if aspired:
        return ""
    if present:
        return f"None of the versions that the config of {name} names is under {base_path}"
    if (base_path / "saved_model.pb").exists():
        return (
            f"{base_path} is a version (it holds saved_model.pb), not a base path: give its parent folder; nothing is "
            "served, and on starting no port is open, until then"
        )
    return (
        f"No versions of servable {name} found under base path {base_path}. Did you forget to name your leaf directory "
        f"as a number (eg. '/1/')? `hangtag export --base-path {base_path}` makes one; on starting no port is open "
        "until then"
    )
