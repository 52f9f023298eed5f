"""Which versions of a model are on disk, and which of them to serve.

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
"""From the versions on disk to those that should be served."""


def scan(base_path: Path) -> Versions:
    """Version number to folder for every child whose name is a version; raises OSError if `base_path` is missing.

    Of two names for one number the lexically last wins. Files count too: loading them fails, and the status says so.
    """
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names suffice
    except ValueError as error:  # a NUL, which a config may have in a path
        raise FileNotFoundError(errno.ENOENT, "No folder can have this name", str(base_path)) from error
    numbered = ((version_number(name), name) for name in names)
    return {number: base_path / name for number, name in numbered if number is not None}


@dataclass(frozen=True)
class Latest:
    """The `count` highest versions; 0 counts as 1. TensorFlow Serving's default is the latest one."""

    count: int = 1

    def __call__(self, present: Versions) -> Versions:
        """The highest versions."""
        return {version: present[version] for version in sorted(present)[-max(self.count, 1) :]}


@dataclass(frozen=True)
class Specific:
    """These versions and no other; those not on disk are left out."""

    versions: tuple[int, ...]

    def __call__(self, present: Versions) -> Versions:
        """Those of the versions that are present."""
        return {version: present[version] for version in self.versions if version in present}


def every_version(present: Versions) -> Versions:
    """All versions on disk."""
    return present


def why_none(name: str, base_path: Path, present: Versions, aspired: Versions) -> str:
    """Why a model has no version to serve, and what to do; empty if it has one."""
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
