"""Which versions of a model are on disk.

Semantics: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc.
"""

from __future__ import annotations

import os
from pathlib import Path

_INT64 = range(-(2**63), 2**63)


def scan(base_path: Path) -> dict[int, Path]:
    """Version number to folder for every child whose name is an int64; raises OSError if `base_path` is not there.

    Zeros in front, a sign and blanks around are allowed, as absl::SimpleAtoi allows them; of two names for one number
    the lexically last wins. Files count too: loading them fails, and the status says so.
    """
    found: dict[int, Path] = {}
    for name in sorted(os.listdir(base_path)):  # noqa: PTH208 - names are all that is needed
        digits = name.strip(" \t\n\v\f\r")
        unsigned = digits[1:] if digits[:1] in ("-", "+") else digits
        if unsigned.isascii() and unsigned.isdecimal() and int(digits) in _INT64:
            found[int(digits)] = base_path / name
    return found


def latest(found: dict[int, Path], count: int = 1) -> dict[int, Path]:
    """The `count` highest versions: TensorFlow Serving's default policy is latest 1."""
    return {version: found[version] for version in sorted(found)[-max(count, 1) :]}
