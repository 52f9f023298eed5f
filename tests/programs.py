"""Programs of Debian packages, unpacked under build/tools without root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT

TOOLS = ROOT / "build" / "tools"


def program(package: str, path: str) -> Path:
    """The file `path` of a Debian `package`. Where it cannot be had the test is skipped by name; under CI it fails."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs side by side unpack it once
        found = TOOLS / package / path
        if not found.exists():
            try:
                _unpack(package)
            except (OSError, subprocess.CalledProcessError) as error:
                words = getattr(error, "stderr", "") or str(error)
                if os.environ.get("CI"):
                    pytest.fail(f"cannot unpack {package}: {words}")
                pytest.skip(f"needs the Debian package {package}, which cannot be fetched here: {words[:200]}")
    return found


def _unpack(package: str) -> None:
    scratch = TOOLS / f".{package}"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "archives" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State={scratch}", "-o", f"Dir::State::lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"]
    options = [[], own]
    for position, option in enumerate(options):
        try:
            if option:  # the machine's own package lists are empty or too old
                _run(["apt-get", "update", *option], scratch)
            _run(["apt-get", "download", *option, package], scratch)
            break
        except subprocess.CalledProcessError:
            if position == len(options) - 1:
                raise
    (archive,) = scratch.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "-x", str(archive), "unpacked"], scratch)
    (scratch / "unpacked").rename(TOOLS / package)
    shutil.rmtree(scratch)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
