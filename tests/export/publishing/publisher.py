"""Publishes copies of a folder, and dies by SIGKILL at a chosen moment: what test_publishing.py kills.

``python publisher.py SOURCE BASE [count]``: publish `count` copies (default 1).
``python publisher.py SOURCE BASE kill-everywhere``: for n = 1, 2, 3…, publish one in a child that is killed at the n-th
moment Python tells of (each file opened, each folder made, moved or listed), until one child gets to its end; print n.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from hangtag_export.publishing.atomic import publish, staging


def publish_copy(source: Path, base_path: Path) -> int:
    with staging(base_path) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return publish(folder, base_path)


def die_at(moment: int) -> None:
    """Let SIGKILL end this process at the `moment`-th audited operation."""
    left = moment

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event.partition(".")[0] in ("open", "os", "shutil", "tempfile", "fcntl"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_everywhere(source: Path, base_path: Path) -> int:
    moment = 0
    while True:
        moment += 1
        child = os.fork()
        if not child:
            die_at(moment)
            publish_copy(source, base_path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return moment
        assert os.WTERMSIG(status) == signal.SIGKILL, status


if __name__ == "__main__":
    source, base_path, how_many = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if how_many == "kill-everywhere":
        print(kill_everywhere(source, base_path))
    else:
        print(*(publish_copy(source, base_path) for _ in range(int(how_many))))
