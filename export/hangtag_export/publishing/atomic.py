"""Publishes a version atomically: a server that polls the base path sees the complete version or nothing.

TensorFlow Serving loads a folder with a number for its name as soon as it sees it, and ignores other names. So a
version is written to a folder whose name begins with a dot, synced to disk, and renamed to its number. The exporting
process locks this staging folder. When the process ends, the kernel releases the lock, and the next export removes the
folder.
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
    """A staging folder in the base path; it is removed at the end unless it was published.

    It is made before the work begins, so that a base path that cannot be written is an error before the training. If
    nothing was published, folders that were created for it are removed too. Raises InvalidInput, ExportError.
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
    """A new staging folder, and the file descriptor with its lock."""
    while True:
        base_path.mkdir(parents=True, exist_ok=True)
        try:
            for path in created:  # regardless of the umask, because the server may run as another user
                path.chmod(0o755)
            with locked_base_path(base_path):
                sweep(base_path)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base_path))
                mark = os.open(folder, os.O_RDONLY)
                fcntl.flock(mark, fcntl.LOCK_EX)
                return folder, mark
        except FileNotFoundError:  # another export had created the base path, failed, and removed it
            continue


def _remove_empty(paths: list[Path]) -> None:
    """Remove these folders, innermost first, until one is not empty."""
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
    """Rename versions so that no server sees them; returns their new folders, which the caller deletes.

    If several folders have the same number, all of them are hidden; otherwise a server would serve another one of them.
    The caller holds the lock of `base_path`. Deleting may take long, and needs no lock.
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

    The lock excludes other exports. If a user copies a version there at this moment, the rename fails because that
    folder is not empty, and the next number is used. Nothing is overwritten.
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
    """Remove staging folders of exports that have ended: this user's folders that no process has locked."""
    for folder in base_path.glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # removed by its owner, another user's, or not a folder
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
    """Make a version readable for a server that runs as another user, and sync it to disk before it gets its number."""
    for path, subfolders, files in os.walk(folder, topdown=False):
        for name in files:
            Path(path, name).chmod(0o644)
            sync(Path(path, name))
        for name in subfolders:
            sync(Path(path, name))
        Path(path).chmod(0o755)
    sync(folder)


def sync(path: Path) -> None:
    """Sync the content of a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
