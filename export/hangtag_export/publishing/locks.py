"""Locks for all commands that change a base path or a model config file.

A lock is a file that a command locks with `flock`, so the kernel releases it when the process ends in any way. Only
users who may write to the folder can open the file, so a server that only reads versions cannot hold the lock. A
command removes the file before it releases the lock; the next command checks that the file it has locked still exists.

A command that needs both locks takes the base path's lock first, then the config's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ExportError

TIMEOUT = 30.0  # seconds to wait for a lock; commands usually hold it for milliseconds
_PAUSE = 0.01  # seconds between two attempts
_NAME = ".hangtag-lock"


@contextmanager
def locked_base_path(base_path: Path, *, only_read: bool = False) -> Iterator[None]:
    """Lock this base path against other commands. Raises OSError, or ExportError after the timeout.

    With `only_read`, a folder that this user cannot write to is not locked.
    """
    with _locked(base_path / _NAME, base_path, only_read):
        yield


@contextmanager
def locked_config(config: Path, *, only_read: bool = False) -> Iterator[None]:
    """Lock this config file against other commands. Otherwise like `locked_base_path`."""
    resolved = Path(os.path.realpath(config))  # Path.resolve() raises RuntimeError for a loop of links
    with _locked(resolved.with_name(f"{_NAME}-{resolved.name}"), config, only_read):
        yield


@contextmanager
def _locked(file: Path, what: Path, only_read: bool) -> Iterator[None]:
    try:
        handle = _acquire(file, what)
    except OSError as error:
        if not only_read or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # in a folder with the sticky bit, another user's file stays, which does no harm
            file.unlink(missing_ok=True)  # before the lock is released, so that it is certainly this file
        os.close(handle)


def _acquire(file: Path, what: Path) -> int:
    end = time.monotonic() + TIMEOUT
    while True:
        handle = _open(file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(handle, file):
                return handle
            os.close(handle)  # the last holder removed the file between our opening and locking it
            continue
        except BlockingIOError:
            os.close(handle)
        except BaseException:
            os.close(handle)
            raise
        if time.monotonic() > end:
            raise ExportError(
                f"another command has held the lock of {what} ({file.name}) for {TIMEOUT:g} s: "
                "wait until it is done, or end it, and try again"
            )
        time.sleep(_PAUSE)


def _open(file: Path) -> int:
    """Open the lock file. A new file can be opened by exactly those users who may write to its folder."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            return os.open(file, flags)
        except FileNotFoundError:
            pass
        folder = file.parent.stat()
        writers = folder.st_mode & 0o222
        try:
            handle = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        try:
            if os.geteuid() == 0:
                os.fchown(handle, folder.st_uid, folder.st_gid)
            os.fchmod(handle, 0o600 | writers | writers << 1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):
                os.close(handle)
                raise
        return handle


def _is_still_there(handle: int, file: Path) -> bool:
    try:
        there = file.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
