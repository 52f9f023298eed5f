"""A version is complete or absent, even if exports or the disk fail."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from hangtag.cli.main import main
from hangtag_export.errors import ExportError
from hangtag_export.publishing import locks
from hangtag_export.publishing.atomic import folders, newest, publish, staging, versions
from hangtag_export.publishing.locks import locked_base_path
from hangtag_serving.models import version_policy
from support import HANGTAG

PUBLISHER = [sys.executable, str(Path(__file__).with_name("publisher.py"))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def polling(base_path: Path, complete: dict[str, bytes]) -> Iterator[None]:
    """Look at `base_path` without pause, as a server does; fail if a numeric folder ever lacked a byte."""
    stop, incomplete, looks = threading.Event(), [], 0

    def look() -> None:
        nonlocal looks
        seen: set[str] = set()
        while not stop.is_set():
            looks += 1
            for name in names(base_path):
                if name.isdecimal() and name not in seen:
                    seen.add(name)
                    if content(base_path / name) != complete:
                        incomplete.append(name)

    base_path.mkdir(exist_ok=True)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
    assert looks
    assert not incomplete


def test_killed_at_every_moment_nothing_incomplete_has_a_number(exported, tmp_path):
    """SIGKILL at each file opened and each folder touched: a reader that polls sees whole versions only."""
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    with polling(base_path, complete):
        done = subprocess.run(
            [*PUBLISHER, exported / "1", base_path, "kill-everywhere"], capture_output=True, text=True, check=True
        )
    assert int(done.stdout) > 30, "there should be many moments to be killed at"
    published = versions(base_path)
    assert published, "the last child was not killed"
    assert all(content(base_path / str(version)) == complete for version in published)
    assert not list(base_path.glob(".*")), "the last one removes what the killed ones left"


def test_killed_at_random_nothing_incomplete_has_a_number(exported, tmp_path):
    """The moments between Python's operations, too: kills by the clock, while versions are being published."""
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    chance = random.Random(3)
    with polling(base_path, complete):
        for _ in range(12):
            process = subprocess.Popen([*PUBLISHER, exported / "1", base_path, "100000"], stderr=subprocess.PIPE)
            target = len(versions(base_path)) + chance.randint(1, 8)
            while len(versions(base_path)) < target:
                assert process.poll() is None, process.stderr.read()
            time.sleep(chance.random() * 0.01)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            process.stderr.close()
    numbers = versions(base_path)
    assert numbers == list(range(1, len(numbers) + 1)), "killed exports leave no gaps"


def test_eight_exports_at_once_get_different_numbers(exported, tmp_path):
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    with polling(base_path, complete):
        command = [*PUBLISHER, str(exported / "1"), str(base_path), "5"]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        taken = [int(number) for process in processes for number in process.communicate()[0].split()]
    assert sorted(taken) == list(range(1, 41))
    assert all(content(base_path / str(version)) == complete for version in taken)


def test_another_user_can_read_a_version_under_any_umask(tmp_path):
    """Folders 755, files 644, and so the base path and its parents that the export created."""
    base_path = tmp_path / "models" / "fashion"
    old = os.umask(0o077)
    try:
        with staging(base_path) as folder:
            (folder / "variables").mkdir()
            (folder / "variables" / "data").write_text("x")
            publish(folder, base_path)
    finally:
        os.umask(old)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "models": 0o755,
        "models/fashion": 0o755,
        "models/fashion/1": 0o755,
        "models/fashion/1/variables": 0o755,
        "models/fashion/1/variables/data": 0o644,
    }


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


def test_what_is_no_staging_folder_does_not_stop_an_export(tmp_path):
    """A FIFO is not opened, a link is not followed."""
    base_path, elsewhere = tmp_path / "fashion", tmp_path / "elsewhere"
    base_path.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    os.mkfifo(base_path / ".staging-fifo")
    (base_path / ".staging-link").symlink_to(elsewhere)
    with staging(base_path) as folder:
        assert publish(folder, base_path) == 1
    assert names(elsewhere) == ["file"]


# ---- locks


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


def test_names_are_versions_as_the_server_reads_them(tmp_path):
    """absl::SimpleAtoi takes signs, zeros and surrounding blanks; of two names for one number the last counts."""
    for name in ("1", "+5", "-2", " 7 ", "00000007", "7.tmp", ".9", "tmp-8", "notes", "99999999999999999999"):
        (tmp_path / name).mkdir()
    numbered = {-2: "-2", 1: "1", 5: "+5", 7: "00000007"}
    assert folders(tmp_path) == {number: tmp_path / name for number, name in numbered.items()}
    assert folders(tmp_path) == version_policy.scan(tmp_path), "the embedded server agrees"
    assert newest(tmp_path) == tmp_path / "00000007"
    assert versions(tmp_path / "nothing") == []
    with staging(tmp_path) as folder:
        assert publish(folder, tmp_path) == 8


def test_a_version_copied_in_by_hand_is_never_overwritten(tmp_path, monkeypatch):
    """Somebody who holds no lock takes the number between the look and the rename: the next one is used."""
    by_hand = tmp_path / "1" / "saved_model.pb"
    rename = Path.rename

    def rename_a_little_late(self: Path, target: Path) -> Path:
        if not by_hand.exists():
            by_hand.parent.mkdir()
            by_hand.write_text("mine")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_a_little_late)
    with staging(tmp_path) as folder:
        (folder / "saved_model.pb").write_text("yours")
        assert publish(folder, tmp_path) == 2
    assert by_hand.read_text() == "mine"


def test_no_number_is_left(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with staging(tmp_path) as folder, pytest.raises(ExportError, match="highest number"):
        publish(folder, tmp_path)
    assert names(tmp_path) == [str(2**63 - 1)]


def test_what_failed_takes_along_the_folders_that_were_made_for_it(tmp_path):
    base_path = tmp_path / "models" / "fashion"
    with pytest.raises(RuntimeError, match="too bad"), staging(base_path):
        raise RuntimeError("too bad")
    assert names(tmp_path) == []
    base_path.mkdir(parents=True)
    with pytest.raises(RuntimeError, match="too bad"), staging(base_path):
        raise RuntimeError("too bad")
    assert base_path.is_dir(), "it was there before"


def test_a_base_path_that_another_export_removes_is_created_again(tmp_path, monkeypatch):
    """One export fails, and removes the base path it had created, just after another has seen it there."""
    base_path, opening, left = tmp_path / "fashion", locks._open, [1]

    def open_late(file: Path) -> int:
        if left:
            left.pop()
            base_path.rmdir()
        return opening(file)

    monkeypatch.setattr(locks, "_open", open_late)
    with staging(base_path) as folder:
        assert publish(folder, base_path) == 1


def test_a_version_is_no_base_path(exported, capsys):
    """A server would not find a version within a version; it is refused before the training."""
    assert main(["export", f"--base-path={exported / '1'}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"hangtag: {exported / '1'} is a version (it holds saved_model.pb), not a base path: give {exported}\n"
    )
    assert versions(exported / "1") == []


# ---- disks that are full or read-only


def test_a_base_path_that_cannot_be_written_is_one_sentence_before_any_work(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(ExportError, match=r"cannot write to .*file/fashion: Not a directory"),
        staging(tmp_path / "file" / "fashion"),
    ):
        pass


def in_a_mount(folder: Path, options: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that sees a small file system of its own at `folder`; what is then in it is printed last."""
    script = (
        'mount -t tmpfs -o "$1" none "$2" || exit 99; folder=$2; shift 2; "$@"; code=$?; ls -A "$folder"; exit $code'
    )
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return subprocess.run(
        [*unshare, "sh", "-c", script, "sh", options, folder, *command], capture_output=True, text=True
    )


def test_a_read_only_folder_is_one_sentence(tmp_path):
    done = in_a_mount(tmp_path, "ro", [*HANGTAG, "export", f"--base-path={tmp_path}", "--epochs=1"])
    if done.returncode == 99:
        tmp_path.chmod(0o555)  # mounts are not allowed here; then neither is this user root, and modes count
        done = subprocess.run(
            [*HANGTAG, "export", f"--base-path={tmp_path}", "--epochs=1"], capture_output=True, text=True
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"hangtag: cannot write to {tmp_path}: ")
    assert "nothing was published" in done.stderr
    assert done.stdout == "", "found out before the training, and nothing left"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(images, tmp_path, tmp_path_factory):
    """The weights alone take 400 kB."""
    pictures = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        (pictures / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(images[number]).save(pictures / "ab"[number % 2] / f"{number}.png")
    command = [*HANGTAG, "export", f"--dataset={pictures}", f"--base-path={tmp_path}", "--epochs=1"]
    done = in_a_mount(tmp_path, "size=300k", command)
    if done.returncode == 99:  # mounts are not allowed here: no file may grow beyond 200 kB instead
        limit = (200_000, 200_000)
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        )
        left = names(tmp_path)
    else:
        left = [line for line in done.stdout.splitlines() if line.isdecimal() or line.startswith(".staging")]
    assert done.returncode == 1
    assert left == []
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hangtag: cannot write to {tmp_path}: ")
    assert line.endswith("; nothing was published")
    assert "No space left on device" in line or "File too large" in line
