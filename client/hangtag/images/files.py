"""Reads files that a caller names: never more than a limit, and without waiting for a pipe that nobody writes to."""

from __future__ import annotations

import os

MAX_IMAGE_BYTES = 100_000_000
"""The limit for one image file; a photograph has a few million bytes."""

_PIECE = 64 << 10

# O_NONBLOCK opens a pipe without waiting for a writer; O_BINARY keeps Windows from changing the bytes.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a file, or the first `limit` + 1 bytes of a larger one.

    A pipe with a writer is read to its end. Raises OSError, or ValueError for a name that is not allowed. A file object
    would take four times as long for a small file.
    """
    handle = os.open(path, _FLAGS)
    try:
        if hasattr(os, "O_NONBLOCK"):
            os.set_blocking(handle, True)
        left, pieces = limit + 1, []
        size = os.fstat(handle).st_size + 1  # a pipe has the size 0
        while piece := os.read(handle, min(size, left)):
            pieces.append(piece)
            left -= len(piece)
            size = _PIECE
        return b"".join(pieces)
    finally:
        os.close(handle)


def why_unreadable(error: Exception) -> object:
    """What an error of reading a file says: without number and path, if the system raised it."""
    return getattr(error, "strerror", None) or error
