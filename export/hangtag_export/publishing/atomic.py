"""Publish a version atomically: a server that polls the base path sees all of it or nothing.

TensorFlow Serving loads a numeric folder as soon as it sees it, complete or not, and skips every other name. So a
version is written in a folder whose name begins with a dot, forced to disk, and renamed to its number. A staging folder
is locked by its owner; the kernel releases that lock when the process ends, and the next export removes the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base_path import check_base_path, folders, versions
from ..errors import ExportError
from .locks import locked_base_path

_PREFIX = ".staging-"
_LARGEST = 2**63 - 1  # version numbers are int64


@contextmanager
def staging(base_path: Path) -> Iterator[Path]:
    """A folder beside the versions, to write one in; removed at the end unless it was published.

    Entered before the work begins, so that a base path that cannot be written is an error before the training. Folders
    that were created for it are removed too if nothing was published. Raises InvalidInput, ExportError.
    """
    created: list[Path] = []
    try:
        check_base_path(base_path)
        created = [path for path in (base_path, *base_path.parents) if not path.exists()]
        folder, mark = _stage(base_path, created)
    except OSError as error:
        _remove_empty(created)
        raise ExportError(f"cannot write to {base_path}: {error.strerror}; nothing was published") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(mark)
        _remove_empty(created)


def _stage(base_path: Path, created: list[Path]) -> tuple[Path, int]:
    """A new staging folder, and the open file whose lock shows that it has an owner."""
    while True:
        base_path.mkdir(parents=True, exist_ok=True)
        try:
            for path in created:  # under any umask: the server, another user, must read the versions
                path.chmod(0o755)
            with locked_base_path(base_path):
                sweep(base_path)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base_path))
                mark = os.open(folder, os.O_RDONLY)
                fcntl.flock(mark, fcntl.LOCK_EX)
                return folder, mark
        except FileNotFoundError:  # another export, which had created the base path, has failed and removed it
            continue


def _remove_empty(paths: list[Path]) -> None:
    """Remove these folders, the innermost first, up to one that is not empty."""
    for path in paths:
        try:
            path.rmdir()
        except OSError:
            return


def publish(folder: Path, base_path: Path) -> int:
    """Rename a staged `folder` to the next version number and return it.

    Raises ExportError; then nothing is published.
    """
    try:
        _settle(folder)
        with locked_base_path(base_path):
            version = _number(folder, base_path)
            sync(base_path)
    except OSError as error:
        raise ExportError(f"cannot publish to {base_path}: {error.strerror}; nothing was published") from error
    return version


def hide(numbers: Iterable[int], base_path: Path) -> list[Path]:
    """Rename versions so that no server sees them, and return the hidden folders, which can then be deleted.

    Of several names for one number all are hidden: a server would serve the next of them as this version. The caller
    holds the lock of `base_path`. Deleting may take long and needs no lock.
    """
    hidden = []
    for number in numbers:
        target = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}removed-", dir=base_path))
        hidden.append(target)
        while (path := folders(base_path).get(number)) is not None:
            path.rename(target / path.name)
    if hidden:
        sync(base_path)
    return hidden


def _number(folder: Path, base_path: Path) -> int:
    """Rename `folder` to the next number.

    The lock excludes other exports. If a user copies a version in by hand at this moment, rename fails on a folder
    that is not empty, and the next number is used: nothing is overwritten.
    """
    while True:
        version = max([0, *versions(base_path)]) + 1
        if version > _LARGEST:
            raise ExportError(f"{base_path} already holds the highest number a version can have; nothing was published")
        try:
            folder.rename(base_path / str(version))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return version


def sweep(base_path: Path) -> None:
    """Remove what ended exports left behind: this user's staging folders that no process has locked."""
    for folder in base_path.glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # already removed by its owner; another user's; or not a folder, so not from an export
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
    """Make a version readable by a server that runs as another user, and force it to the disk before it has a name."""
    for path, subfolders, files in os.walk(folder, topdown=False):
        for name in files:
            Path(path, name).chmod(0o644)
            sync(Path(path, name))
        for name in subfolders:
            sync(Path(path, name))
        Path(path).chmod(0o755)
    sync(folder)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
