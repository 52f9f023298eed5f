"""Which versions of a model are on disk, and which of them to serve.

Semantics: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hangtag.contract import version_number

Found = dict[int, Path]
Policy = Callable[[Found], Found]
"""From the versions on disk to those that should be served."""


def scan(base_path: Path) -> Found:
    """Version number to folder for every child whose name is an int64; raises OSError if `base_path` is not there.

    Zeros in front, a sign and blanks around are allowed, as absl::SimpleAtoi allows them; of two names for one number
    the lexically last wins. Files count too: loading them fails, and the status says so.
    """
    found: Found = {}
    for name in sorted(os.listdir(base_path)):  # noqa: PTH208 - names are all that is needed
        number = version_number(name)
        if number is not None:
            found[number] = base_path / name
    return found


@dataclass(frozen=True)
class Latest:
    """The `count` highest versions; 0 counts as 1. TensorFlow Serving's default is the latest one."""

    count: int = 1

    def __call__(self, found: Found) -> Found:
        """The highest versions."""
        return {version: found[version] for version in sorted(found)[-max(self.count, 1) :]}


@dataclass(frozen=True)
class Specific:
    """These versions and no other; what is not on disk is left out."""

    versions: tuple[int, ...]

    def __call__(self, found: Found) -> Found:
        """Those of the versions that are there."""
        return {version: found[version] for version in self.versions if version in found}


def every_version(found: Found) -> Found:
    """All versions on disk."""
    return found
