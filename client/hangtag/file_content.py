"""The content of a file that a caller names: never more than a limit, and no wait for a pipe that nobody writes to."""

from __future__ import annotations

import os

MAX_IMAGE_BYTES = 100_000_000
"""Of one image file; a photograph has a few million bytes."""


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content; of a larger file, and of a device without an end, the first `limit` + 1 bytes.

    Raises OSError, or ValueError for a name that no file can have.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        return file.read(limit + 1)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file. Opening a pipe waits for no writer; reading from one that has a writer waits for its end."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(handle, True)
    return handle
