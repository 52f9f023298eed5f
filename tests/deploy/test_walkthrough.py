"""docs/deploy.md, read from top to bottom: every `hangtag` command in it runs, in its order, against one server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from string import Template

import pytest

from hangtag import Client
from support import HANGTAG, PATIENCE, ROOT, serving

NOT_HERE = ("docker ", "kubectl ", "make ")
"""What needs an engine or a cluster; the files that these commands run have tests of their own."""


def commands() -> list[str]:
    """The lines of the shell blocks, with continued lines joined."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


@pytest.fixture(scope="module")
def project(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has after `make demo` and the README's export: the repository's files, and versions 1 and 2."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "serving" / "config", folder / "serving" / "config")
    shutil.copytree(
        ROOT / "serving" / "docker", folder / "serving" / "docker", ignore=shutil.ignore_patterns("secrets")
    )
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")
    for number in ("1", "2"):
        shutil.copytree(exported / "1", folder / "models" / "fashion" / number)
    return folder


def test_every_hangtag_command_of_the_walk_through_runs(project: Path, two_versions: Path):
    lines = commands()
    served = next(line for line in lines if line.startswith("hangtag serve "))
    flags = shlex.split(served)[2:]
    assert "--path_map=/models=models" in flags
    absolute = [
        flag.replace("=serving/", f"={project}/serving/")
        .replace("=models", f"={project}/models")
        .replace("poll_wait_seconds=10", "poll_wait_seconds=0.2")
        for flag in flags
    ]
    fashion, variables, done = project / "models" / "fashion", {}, []
    with serving(fashion, project / "log", *absolute) as server:
        for line in lines:
            if line.startswith(NOT_HERE) or line == served:
                continue
            if assignment := re.match(r"(\w+)=\$\(", line):
                script = ["sh", "-c", f"{line}\necho ${assignment[1]}"]
                shown = subprocess.run(script, cwd=project, capture_output=True, text=True, check=True).stdout
                variables[assignment[1]] = shown.strip()
                continue
            words = shlex.split(Template(line).substitute(variables).replace("localhost:8500", server.grpc))
            assert words[0] == "hangtag", line
            done.append(words[1])
            if words[1] == "export":  # two_versions has run this very line
                shutil.copytree(two_versions / "2", fashion / ".3")
                (fashion / ".3").rename(fashion / "3")
                continue
            if words[1] == "compare":
                words += ["--target", server.grpc]
            ran = subprocess.run(
                [*HANGTAG, *words[1:]], cwd=project, env=os.environ, capture_output=True, text=True, timeout=PATIENCE
            )
            assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        assert variables == {"new": "3"}
        with Client(server.grpc, version_label="stable") as client:
            assert client.metadata().version == 1
    assert set(done) == {"doctor", "wait", "classify", "versions", "export", "compare"}


def test_the_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {line.split()[1] for line in commands() if line.startswith("make ")}
    assert named == {"secrets", "serve-docker", "stop-docker"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_files_that_its_docker_and_kubectl_commands_name_exist():
    for line in commands():
        for path in re.findall(r"(?:-f|-k) (serving/\S+)", line):
            assert (ROOT / path).exists(), path
