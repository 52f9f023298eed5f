"""Publish a version atomically: a server that polls the base path sees all of it or nothing.

TensorFlow Serving takes a numeric folder the moment it sees it, complete or not, and skips every other name. So a
version is written in a folder whose name begins with a dot, forced to disk, and renamed to its number. Locks are
flock's, on the folders themselves: the kernel drops them when a process dies, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hangtag.errors import InvalidInput

from ..errors import ExportError

_PREFIX = ".staging-"
_LARGEST = 2**63 - 1  # version numbers are int64


def folders(base_path: Path) -> dict[int, Path]:
    """Version number to folder, ascending, read as TensorFlow Serving reads names: ``1`` and ``00000123`` are numbers.

    Of two names for one number the lexically last wins.
    """
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names are all that is needed
    except FileNotFoundError:
        return {}
    found = {int(name): base_path / name for name in names if name.isascii() and name.isdecimal()}
    return {number: found[number] for number in sorted(found) if number <= _LARGEST}


def versions(base_path: Path) -> list[int]:
    """The version numbers in `base_path`, ascending."""
    return list(folders(base_path))


def newest(base_path: Path) -> Path | None:
    """The folder of the highest version, which TensorFlow Serving serves by default; None if there is none."""
    return next(reversed(folders(base_path).values()), None)


def check_base_path(base_path: Path) -> None:
    """Raise InvalidInput for a folder that is a version itself: a server would not look for versions in it."""
    if (base_path / "saved_model.pb").exists():
        parent = base_path.absolute().parent if base_path.name in ("", "..") else base_path.parent
        raise InvalidInput(f"{base_path} is a version (it holds saved_model.pb), not a base path: give {parent}")


@contextmanager
def staging(base_path: Path) -> Iterator[Path]:
    """A folder beside the versions, in which one can be written; gone afterwards unless it was published.

    Opened before the work begins, so that a base path that cannot be written is found out before the training. Folders
    that had to be made for it are gone afterwards too, if nothing was published. Raises InvalidInput, ExportError.
    """
    made: list[Path] = []
    try:
        check_base_path(base_path)
        made = [path for path in (base_path, *base_path.parents) if not path.exists()]
        folder, mark = _stage(base_path)
    except OSError as error:
        _remove_empty(made)
        raise ExportError(f"cannot write to {base_path}: {error.strerror}; nothing was published") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(mark)
        _remove_empty(made)


def _stage(base_path: Path) -> tuple[Path, int]:
    """A new staging folder, and the open file whose lock says that it has an owner."""
    while True:
        base_path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(base_path):
                _sweep(base_path)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base_path))
                mark = os.open(folder, os.O_RDONLY)
                fcntl.flock(mark, fcntl.LOCK_EX)
                return folder, mark
        except FileNotFoundError:  # another export, which had made the base path, has failed and taken it away
            continue


def _remove_empty(folders: list[Path]) -> None:
    """Remove these folders, the innermost first, up to one that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def publish(folder: Path, base_path: Path) -> int:
    """Give a staged `folder` the next number and return it. Raises ExportError; then nothing is published."""
    try:
        _settle(folder)
        with locked(base_path):
            version = _number(folder, base_path)
            _sync(base_path)
    except OSError as error:
        raise ExportError(f"cannot publish to {base_path}: {error.strerror}; nothing was published") from error
    return version


def withdraw(version: int, base_path: Path) -> None:
    """Remove a version: out of the server's sight at once, by its name, and then from the disk."""
    with locked(base_path):
        hidden = base_path / f"{_PREFIX}withdrawn-{version}"
        shutil.rmtree(hidden, ignore_errors=True)
        folders(base_path)[version].rename(hidden)
        _sync(base_path)
        shutil.rmtree(hidden)


def _number(folder: Path, base_path: Path) -> int:
    """Rename `folder` to the next number.

    The lock keeps other exports out. Should someone copy a version in by hand at this very moment, rename fails on a
    folder that is not empty, and the next number is taken: nothing is overwritten.
    """
    while True:
        version = max(versions(base_path), default=0) + 1
        if version > _LARGEST:
            raise ExportError(f"{base_path} already holds the highest number a version can have; nothing was published")
        try:
            folder.rename(base_path / str(version))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return version


@contextmanager
def locked(base_path: Path) -> Iterator[None]:
    """Keep every other export and prune out of `base_path` for as long as the block runs."""
    handle = os.open(base_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sweep(base_path: Path) -> None:
    """Remove what killed exports left behind: staging folders that nobody holds."""
    for folder in base_path.glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # its owner has just removed it
            continue
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
