"""docs/deploy.md, run from top to bottom as one script, for a model called fashion and for one called goods."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hangtag import Client
from support import PATIENCE, ROOT, Server, eventually, free_port, serving

PAGE = (ROOT / "docs" / "deploy.md").read_text()


def script() -> str:
    """The shell blocks of the page, joined."""
    return "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def project(exported: Path, tmp_path: Path) -> Path:
    """The repository's files that the page names."""
    for name in ("config", "docker", "kubernetes", "monitoring"):
        shutil.copytree(
            ROOT / "serving" / name, tmp_path / "serving" / name, ignore=shutil.ignore_patterns("secrets", ".env")
        )
    shutil.copytree(ROOT / "docs" / "images", tmp_path / "docs" / "images")
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def tool(folder: Path, name: str, text: str) -> None:
    """An executable of that name, first on the script's PATH."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def stand_ins(project: Path, model: str, second: Path, kubectl: Path) -> None:
    """Docker and the cluster only note their arguments; `kubectl apply -k` builds what it would apply."""
    log = project / "log-of-tools"
    tool(project, "docker", f'echo "docker $*" >> {log}')
    tool(project, "kind", f'echo "kind $*" >> {log}')
    tool(
        project,
        "kubectl",
        f"""echo "kubectl $*" >> {log}
case "$1 $2" in
  "apply -k") exec {kubectl} kustomize "$3" > /dev/null ;;
  "apply -f") test -f "$3" ;;
  kustomize*) exec {kubectl} "$@" ;;
esac""",
    )
    # The server runs next to the script; training takes as long as all the rest: it has run before.
    new = project / "models" / model
    tool(
        project,
        "hangtag",
        f"""case "$1" in
  serve) exit 0 ;;
  export) echo "hangtag $*" >> {log}; cp -r {second} {new}/.2 && mv {new}/.2 {new}/2 ;;
  *) exec {shlex.quote(shutil.which("hangtag"))} "$@" ;;
esac""",
    )


@pytest.mark.parametrize("model", ["fashion", "goods"])
def test_the_page_runs_from_top_to_bottom(project, model, exported, two_versions, kubectl):
    shutil.copytree(exported, project / "models" / model)
    stand_ins(project, model, two_versions / "2", kubectl)
    ports = {"8500": str(free_port()), "8501": str(free_port())}
    text = re.sub(r"localhost:(8500|8501)", lambda port: f"127.0.0.1:{ports[port[1]]}", script())
    assert text.count("model=fashion  #") == 1
    text = text.replace("model=fashion  #", f"model={model}  #")
    first, rest = text.split("make serve-docker\n")
    (command,) = re.findall(r"^hangtag serve (.*?[^\\])$", rest, re.MULTILINE | re.DOTALL)
    environment = {"PATH": f"{project / 'bin'}:/usr/bin:/bin", "HOME": str(project)}

    def run(part: str) -> str:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", part],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    found = run(first)
    assert "fail" not in found
    assert f"serves {model}" in found
    flags = [
        flag.replace("=deploy/", f"={project}/deploy/").replace("=/models=models", f"=/models={project}/models")
        for flag in shlex.split(command.replace("\\\n", " "))
        if "poll_wait" not in flag
    ]
    flags += ["--model_config_file_poll_wait_seconds=0.2", *(f"--{name}={ports[port]}" for name, port in PORTS)]
    with serving(project / "models" / model, project / "log", *flags, wait=False):
        with Client(f"127.0.0.1:{ports['8500']}", model=model) as client:
            client.wait_ready(PATIENCE)
        run(f"model={model}\nmake serve-docker\n{rest}")
        with Client(f"127.0.0.1:{ports['8500']}", model=model, version_label="stable") as client:
            assert client.metadata().version == 1
    noted = (project / "log-of-tools").read_text()
    assert "docker compose -f" in noted
    assert f"hangtag export --base-path models/{model} --seed 7" in noted
    for overlay in (ROOT / "serving" / "kubernetes" / "overlays").iterdir():
        assert f"kubectl apply -k serving/kubernetes/overlays/{overlay.name}\n" in noted


PORTS = (("port", "8500"), ("rest_api_port", "8501"))


def test_the_canary_as_a_model_of_its_own(exported, tmp_path):
    """Calls without a label stay on version 1 while version 2 is tried under the other name."""
    for number in ("1", "2"):
        shutil.copytree(exported / "1", tmp_path / "models" / "fashion" / number)
    config = ROOT / "serving" / "config" / "canary-as-model.config"
    flags = (
        f"--model_config_file={config}",
        f"--path_map=/models={tmp_path / 'models'}",
        "--allow_version_labels_for_unavailable_models=true",
    )
    with serving(exported, tmp_path / "log", *flags) as server:
        assert answering(server, "fashion") == {1}
        assert answering(server, "fashion-canary") == {2}


def answering(server: Server, model: str) -> set[int]:
    versions = set()
    for target in (server.grpc, server.rest):
        with Client(target, model=model) as client:
            eventually(client.ready, f"{model} to be ready")
            versions.add(client.metadata().version)
    return versions


def test_every_overlay_has_a_code_block_of_its_own():
    """Two overlays in one block would be applied one after the other."""
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        assert len(re.findall(r"kubectl apply -k \S+/overlays/", block)) <= 1, block


def test_the_warning_about_calls_without_a_label_comes_first():
    section = PAGE.split("## 6. A canary\n\n")[1]
    assert section.startswith("**A call without a version and a label gets the newest version that is loaded.")
