"""A base path: the folder that a server watches, with one folder for each version."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hangtag.contract import version_number
from hangtag.errors import InvalidInput

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a pathlib path has lost the second slash


def folders(base_path: Path) -> dict[int, Path]:
    """Version number to folder, ascending. As in TensorFlow Serving, ``1``, ``007``, ``+5`` and ``-2`` are numbers.

    Of several names for one number the lexically last wins.
    """
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names are all that is needed
    except FileNotFoundError:
        return {}
    numbered = {number: base_path / name for name in names if (number := version_number(name)) is not None}
    return {number: numbered[number] for number in sorted(numbered)}


def versions(base_path: Path) -> list[int]:
    """The version numbers in `base_path`, ascending."""
    return list(folders(base_path))


def newest(base_path: Path) -> Path | None:
    """The folder of the highest version, which TensorFlow Serving serves by default; None if there is none."""
    return next(reversed(folders(base_path).values()), None)


def check_base_path(base_path: Path) -> None:
    """Raise InvalidInput for a URL, a file, and a version's own folder, in which no server would look for versions."""
    if _URL.match(str(base_path)):
        raise InvalidInput(
            f"{base_path} is not a local folder: versions are written to local folders only "
            "(not to s3://, gs://, hdfs://…); publish to one and copy the version's folder"
        )
    if os.path.lexists(base_path) and not base_path.is_dir():
        what = "a link that leads nowhere" if base_path.is_symlink() else "a file"
        raise InvalidInput(f"{base_path} is {what}: a base path is a folder of versions; give another")
    if (base_path / "saved_model.pb").exists():
        parent = base_path.absolute().parent if base_path.name in ("", "..") else base_path.parent
        raise InvalidInput(f"{base_path} is a version (it holds saved_model.pb), not a base path: give {parent}")
