"""Publish a version atomically: a server that polls the base path sees all of it or nothing.

TensorFlow Serving takes a numeric folder the moment it sees it, complete or not, and skips every other name. So a
version is written in a folder whose name begins with a dot, forced to disk, and renamed to its number. Locks are
flock's, on the folders themselves: the kernel drops them when a process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ExportError

_PREFIX = ".staging-"


def versions(base_path: Path) -> list[int]:
    """The version numbers in `base_path`, ascending, read as TensorFlow Serving reads them."""
    try:
        names = os.listdir(base_path)  # noqa: PTH208 - names are all that is needed
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


@contextmanager
def staging(base_path: Path) -> Iterator[Path]:
    """A folder beside the versions, in which one can be written; gone afterwards unless it was published.

    Opened before the work begins, so that a base path that cannot be written is found out before the training.
    """
    try:
        base_path.mkdir(parents=True, exist_ok=True)
        with _locked(base_path):
            _sweep(base_path)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base_path))
            mark = os.open(folder, os.O_RDONLY)
            fcntl.flock(mark, fcntl.LOCK_EX)
    except OSError as error:
        raise ExportError(f"cannot write to {base_path}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(mark)


def publish(folder: Path, base_path: Path) -> int:
    """Give a staged `folder` the next number and return it. Raises ExportError; then nothing is published."""
    try:
        _settle(folder)
        with _locked(base_path):
            version = max(versions(base_path), default=0) + 1
            # The lock keeps other exports out. Should someone copy a version in by hand at this very moment, rename
            # fails on the folder that is not empty; it never overwrites.
            folder.rename(base_path / str(version))
            _sync(base_path)
    except OSError as error:
        raise ExportError(f"cannot publish to {base_path}: {error.strerror}") from error
    return version


@contextmanager
def _locked(base_path: Path) -> Iterator[None]:
    handle = os.open(base_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sweep(base_path: Path) -> None:
    """Remove what killed exports left behind: staging folders that nobody holds."""
    for folder in base_path.glob(f"{_PREFIX}*"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _settle(folder: Path) -> None:
    """Readable by a server that runs as another user, and on the disk before the name is."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            Path(path, name).chmod(0o644)
            _sync(Path(path, name))
        for name in folders:
            _sync(Path(path, name))
        Path(path).chmod(0o755)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
