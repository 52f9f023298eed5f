"""A base path that cannot be written is one sentence, before the training where possible."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from hangtag_export.errors import ExportError
from hangtag_export.publishing.atomic import staging
from support import HANGTAG


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
