"""Whether the server's user can read what it must serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .findings import FAIL, Finding

CONTAINER_USER = 65534
"""The user of the server in compose.yaml and the Kubernetes files: nobody."""


def examine_access(*paths: Path) -> Iterator[Finding]:
    """The first of these files and folders that the container's user cannot read."""
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # a broken link: loading says more
        # The owner's bits count for the owner, the group's for its members, the last three for all others.
        shift = 6 if status.st_uid == CONTAINER_USER else 3 if status.st_gid == CONTAINER_USER else 0
        needed = 0o5 if path.is_dir() else 0o4
        if (status.st_mode >> shift) & needed != needed:
            message = f"cannot be read by user {CONTAINER_USER}, which the containers run as"
            folder = paths[0] if path != paths[0] or path.is_dir() else path
            yield Finding(FAIL, "unreadable", str(path), message, f"chmod -R u=rwX,go=rX {folder}")
            return
