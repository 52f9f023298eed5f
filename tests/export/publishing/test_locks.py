"""The lock of a base path, and the staging folders of several users."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hangtag_export.errors import ExportError
from hangtag_export.publishing import locks
from hangtag_export.publishing.atomic import staging
from hangtag_export.publishing.locks import locked_base_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lock_that_is_held_too_long_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "TIMEOUT", 0.05)
    with (
        locked_base_path(tmp_path),
        pytest.raises(ExportError, match=r"another command has held the lock of .* for 0\.05 s: wait until"),
        staging(tmp_path),
    ):
        pass
    assert names(tmp_path) == [], "nothing is left, not even the lock's file"


def test_a_reader_of_the_base_path_cannot_hold_its_lock(tmp_path):
    """A process that locks the folder itself, as any reader may, blocks no export; writers lock a file."""
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        for mode, expected in ((0o755, 0o600), (0o775, 0o660), (0o777, 0o666)):
            tmp_path.chmod(mode)
            with locked_base_path(tmp_path):
                (file,) = tmp_path.iterdir()
                assert stat.S_IMODE(file.stat().st_mode) == expected
    finally:
        os.close(handle)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from hangtag_export.publishing.locks import locked_base_path\n"
        "with locked_base_path(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with locked_base_path(tmp_path):
        pass
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")
def test_users_share_a_base_path(exported, tmp_path):
    """A staging folder of another user, in use or left by a kill, is left alone."""
    base_path = tmp_path / "fashion"
    base_path.mkdir()
    base_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    source = tmp_path / "source"
    shutil.copytree(exported / "1", source)
    code = (
        "import os, sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from publisher import publish_copy, staging; user, *paths = sys.argv[2:]\n"
        "os.setgroups([]); os.setgid(int(user)); os.setuid(int(user)); source, base_path = map(Path, paths)\n"
    )

    def as_user(number: int, what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code + what, Path(__file__).parent, str(number), source, base_path]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def published_by(number: int) -> str:
        return as_user(number, "print(publish_copy(source, base_path))").communicate()[0]

    other = as_user(1001, "with staging(base_path): print('in', flush=True); time.sleep(600)")
    assert other.stdout.readline() == "in\n"
    assert published_by(1002) == "1\n"
    other.kill()
    other.communicate()
    assert published_by(1002) == "2\n"
    assert len(list(base_path.glob(".staging-*"))) == 1
    assert published_by(1001) == "3\n"
    assert names(base_path) == ["1", "2", "3"], "its owner's next export removes it"
