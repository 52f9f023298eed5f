"""`make serve-docker`: what is missing is one sentence, before Docker starts anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make serve-docker needs of a fresh clone."""
    shutil.copytree(ROOT / "serving", tmp_path / "serving", ignore=shutil.ignore_patterns("hangtag_serving", "secrets"))
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def serve_docker(clone: Path, docker: str | None, *arguments: str) -> tuple[int, str]:
    """`make serve-docker` with a script as `docker`; the exit code and all that was printed."""
    tools = clone / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "sed", "grep", "ls", "realpath", "tr", "tail", "make", "dirname", "awk"):
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(shutil.which(name))
    if docker is not None:
        (tools / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tools / "docker").chmod(0o755)
    done = subprocess.run(
        ["make", "serve-docker", *arguments], cwd=clone, env={"PATH": str(tools)}, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_on_a_fresh_clone_it_says_to_train_or_publish(clone):
    code, printed = serve_docker(clone, "exit 0")
    assert code == 2
    assert "models/fashion has no version to serve: run make train" in printed
    assert "hangtag publish MODEL --base-path models/fashion" in printed


@pytest.mark.parametrize(
    ("docker", "sentence"),
    [
        (None, "Docker is not installed: install it, or run the embedded server with make serve."),
        ('[ "$1" != compose ]', "Docker's compose plugin is not installed: on Debian or Ubuntu, apt install"),
        ('[ "$1" != info ]', "The Docker engine does not answer: start it, and see docker info."),
    ],
    ids=["docker", "plugin", "engine"],
)
def test_what_is_missing_is_one_sentence(clone, docker, sentence):
    (clone / "models" / "fashion" / "1").mkdir(parents=True)
    code, printed = serve_docker(clone, docker)
    lines = [line for line in printed.splitlines() if not line.startswith("make")]
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(sentence)


def test_it_serves_the_model_that_is_named(clone):
    (clone / "models" / "goods" / "1").mkdir(parents=True)
    code, printed = serve_docker(clone, 'echo "$MODEL_NAME: docker $*"', "MODEL=goods")
    assert code == 0, printed
    assert re.search(r"^goods: docker compose -f \S+/compose.yaml up --detach --wait$", printed, re.MULTILINE)
