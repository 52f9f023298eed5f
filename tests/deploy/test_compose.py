"""The compose file and what it mounts, as far as they can be checked without Docker."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hangtag import Client
from hangtag_serving.doctor.compose import interpolate
from hangtag_serving.flags import add_flags
from support import HANGTAG, PATIENCE, ROOT, eventually, free_port

DOCKER = ROOT / "serving" / "docker"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_every_service_is_hardened(compose):
    for name, service in compose["services"].items():
        assert "memory" in service["deploy"]["resources"]["limits"], name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


def test_only_the_edge_is_reached_from_outside(compose):
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:") or name == "edge", (name, port)


def test_images_are_pinned(compose):
    """By a version; `latest` would change what runs without a change here."""
    for name, service in compose["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", service["image"]), name


def test_the_server_is_started_without_the_images_script(compose):
    server = compose["services"]["tfserving"]
    assert server["entrypoint"] == ["tensorflow_model_server"]
    assert server["init"] is True
    assert server["user"] == "65534:65534"


def test_answers_are_not_serialized_as_tensor_content():
    """With that flag the C++ server's REST answers hold process memory, and a string output ends it."""
    for folder in ("docker", "kubernetes"):
        for file in (ROOT / "serving" / folder).rglob("*.yaml"):
            assert "enable_serialization_as_tensor_content" not in file.read_text(), file


def test_tensorflow_chooses_its_threads(compose):
    """One thread an operation suits small dense models only: convolutions run at half the speed."""
    for service in compose["services"].values():
        assert not [flag for flag in service.get("command", []) if "op_parallelism" in str(flag)]


def source_of(volume: str | dict) -> str:
    source = volume["source"] if isinstance(volume, dict) else interpolate(volume, {}).split(":")[0]
    return str(interpolate(source, {}))


def test_what_is_mounted_is_in_the_repository(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = source_of(volume)
            if source == "../../models":
                continue  # which the reader trains
            if source.startswith("."):
                assert (DOCKER / source).exists(), (name, source)
            else:
                assert source in compose["volumes"], (name, source)
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]


def test_docker_makes_no_folder_of_its_own(compose):
    """A folder that does not exist would be made as root, and `hangtag export` could not write to it."""
    for volume in compose["services"]["tfserving"]["volumes"]:
        assert volume["bind"] == {"create_host_path": False}
        assert volume["read_only"]


def test_files_that_the_flags_name_are_mounted(compose):
    for flag in compose["services"]["tfserving"]["command"]:
        for name in re.findall(r"_file=/config/([\w.]+)", flag):
            assert (ROOT / "serving" / "config" / name).is_file()


def test_the_check_before_the_server_has_its_image_flags_and_mounts(compose):
    check, server = compose["services"]["check"], compose["services"]["tfserving"]
    assert server["depends_on"] == {"check": {"condition": "service_completed_successfully"}}
    assert check["entrypoint"] == ["bash", "/config/check.sh", *server["entrypoint"]]
    for key in ("image", "command", "volumes", "environment", "user"):
        assert check[key] == server[key]
    assert "ports" not in check


def test_the_gpu_file_changes_image_memory_and_device_only(compose):
    gpu = yaml.safe_load((DOCKER / "gpu.yaml").read_text())["services"]
    server = gpu["tfserving"]
    image = compose["services"]["tfserving"]["image"] + "-gpu"
    assert (gpu["check"]["image"], server["image"]) == (image, image)
    added = [flag for flag in server["command"] if flag not in compose["services"]["tfserving"]["command"]]
    assert added == ["--per_process_gpu_memory_fraction=0.8"]
    assert len(server["command"]) == len(compose["services"]["tfserving"]["command"]) + 1
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_the_embedded_server_has_the_same_name_and_flags(compose):
    """So that the edge and monitoring work with it unchanged, on arm64 as well."""
    text = (DOCKER / "embedded.yaml").read_text()
    services = yaml.safe_load(text.replace("!reset ", ""))["services"]
    assert set(services) == {"check", "tfserving"}
    for service in services.values():
        assert service["platform"] is None
        assert "command" not in service
        assert service["image"] == "hangtag-serve"
    assert text.count("!reset null") == 1
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = services["tfserving"]["entrypoint"][2:] + compose["services"]["tfserving"]["command"]
    assert parser.parse_args([interpolate(flag, {}) for flag in flags]).host == "0.0.0.0"  # noqa: S104 - a container's


# ---- the commands of the compose file, run with the embedded server in the container's place


class Stack:
    """The compose file's services `check` and `tfserving`, run here: the container's paths are in a folder."""

    def __init__(self, folder: Path, compose: dict, **environment: str) -> None:
        self.folder = folder
        self.ports = {"8500": str(free_port()), "8501": str(free_port()), "18500": str(free_port())}
        self.ports["18501"] = str(free_port())
        server = interpolate(compose["services"]["tfserving"], environment)
        check = interpolate(compose["services"]["check"], environment)
        self.environment = os.environ | {name: self._here(text) for name, text in server["environment"].items()}
        self.environment |= {"MODEL_CONFIG_FILE": str(folder / "config/models.config"), "REST_PORT": self.ports["8501"]}
        self.environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.server = [*server["entrypoint"], *map(self._here, server["command"])]
        self.check = ["bash", self._here(check["entrypoint"][1]), check["entrypoint"][2]]
        self.check += list(map(self._here, check["command"]))
        self.ready = ["bash", *map(self._here, server["healthcheck"]["test"][2:])]
        stand_in = folder / "bin" / "tensorflow_model_server"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f'#!/bin/sh\nexec {shlex.join(HANGTAG)} serve "$@"\n')
        stand_in.chmod(0o755)
        script = folder / "config" / "check.sh"
        text = (ROOT / "serving" / "config" / "check.sh").read_text()
        for port in ("18500", "18501"):
            text = text.replace(port, self.ports[port])
        script.write_text(text)
        config = folder / "config" / "models.config"
        config.write_text(config.read_text().replace('"/models/', f'"{folder}/models/'))

    def _here(self, text: str) -> str:
        text = re.sub(r"(?<=[=^])/config/|^/config/", f"{self.folder}/config/", text)
        text = re.sub(r"(?<=[=])/models|^/models", f"{self.folder}/models", text)
        return re.sub(r"=(8500|8501)$", lambda port: f"={self.ports[port[1]]}", text)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "serving" / "config", tmp_path / "config")
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.mark.parametrize("by", ["config", "variable"])
def test_the_commands_serve_a_model_called_goods(compose, folder, exported, by):
    """Named in one place, the config or MODEL_NAME; check and health check follow."""
    shutil.copytree(exported, folder / "models" / "goods")
    config = folder / "config" / "models.config"
    config.write_text(config.read_text().replace("fashion", "goods") if by == "config" else "")
    stack = Stack(folder, compose, **({} if by == "config" else {"MODEL_NAME": "goods"}))
    checked = stack.run(stack.check)
    assert checked.returncode == 0, checked.stderr
    before = stack.run(stack.ready)
    assert before.returncode == 1
    assert "goods is not ready: nothing listens on port" in before.stderr
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(stack.server, env=stack.environment, stdout=log, stderr=log)
    try:
        eventually(
            lambda: server.poll() is not None or stack.run(stack.ready).returncode == 0, "the health check to succeed"
        )
        assert server.poll() is None, (folder / "log").read_text()
        with Client(f"127.0.0.1:{stack.ports['8500']}", model="goods") as client:
            assert client.classify(ROOT / "docs/images/ankle-boot.png").labels[0] == "Ankle boot"
    finally:
        server.terminate()
        server.wait(30)


def test_the_health_check_asks_for_every_model_of_the_config(compose, folder, server):
    """One that is not served makes it fail, and a comment names no model."""
    stack = Stack(folder, compose)
    stack.environment["REST_PORT"] = server.rest.rsplit(":", 1)[1]
    assert stack.run(stack.ready).returncode == 0
    config = folder / "config" / "models.config"
    entry = "  config { name: 'nope' base_path: '/models/nope' model_platform: 'tensorflow' }\n}"
    config.write_text(config.read_text().rstrip().removesuffix("}") + entry)
    done = stack.run(stack.ready)
    assert (done.returncode, "nope is not ready" in done.stderr) == (1, True)
    config.write_text('# name: "nope"\nmodel_config_list { config { name : "fashion" } }')
    assert stack.run(stack.ready).returncode == 0
    config.write_text("model_config_list {}")
    assert "names no model" in stack.run(stack.ready).stderr


def test_the_check_says_at_once_that_there_is_no_version(compose, folder):
    (folder / "models" / "fashion").mkdir()
    stack = Stack(folder, compose)
    done = stack.run(stack.check)
    assert done.returncode == 1
    assert "make train MODEL=fashion" in done.stderr
    assert "hangtag publish" in done.stderr


def test_the_check_says_which_version_keeps_the_server_from_starting(compose, folder):
    """By a server that ends as the C++ server does when the newest version is broken, however good an older one is."""
    for number in (1, 2):
        (folder / "models" / "fashion" / str(number)).mkdir(parents=True)
    stack = Stack(folder, compose)
    error = (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: fashion version: 2}"
    )
    server = folder / "bin" / "tensorflow_model_server"
    server.write_text(f"#!/bin/sh\necho '{error} due to error: NOT_FOUND: no saved_model.pb}}, }}' >&2\nexit 255\n")
    done = stack.run(stack.check)
    assert done.returncode == 1
    assert "{name: fashion version: 2} due to error: NOT_FOUND" in done.stderr
    assert "move it out of the way (mv models/NAME/NUMBER models/NAME/NUMBER.broken)" in done.stderr


# ---- make serve-docker


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


def test_the_image_of_the_embedded_server_copies_what_the_install_needs():
    text = (DOCKER / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert {"serving/config/ready.sh", "serving/config/check.sh"} < copied  # of what is in `serving`
    copied = {name for name in copied if "/" not in name}
    assert copied == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "client", "export", "serving"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert re.search(r"^USER 65534", text, re.MULTILINE)
    assert "HEALTHCHECK" in text


def test_secrets_are_made_once_and_are_no_ones_but_ours(compose, tmp_path):
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    runs, kept = [], {"ca.key", "client.crt", "client.key"}  # which no container needs
    for _ in range(2):
        subprocess.run([script], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        mounted = {entry["file"] for entry in compose["secrets"].values()}
        assert {f"./secrets/{name}" for name in made} == mounted | {f"./secrets/{name}" for name in kept}
        assert re.fullmatch(r'"Bearer [0-9a-f]{64}" me;\n', made["tokens.map"])
        runs.append(made)
    assert runs[0] == runs[1]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert all((tmp_path / "secrets" / name).stat().st_mode & 0o077 == 0 for name in kept)
    assert "serving/docker/secrets" in (ROOT / ".dockerignore").read_text()
    assert "/serving/docker/secrets/" in (ROOT / ".gitignore").read_text()


def test_a_run_that_was_interrupted_leaves_nothing_half_written(tmp_path):
    """If it dies at any openssl call, the next run makes a complete set."""
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    real = shutil.which("openssl")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "openssl").write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\n"
        f'if [ "$(wc -l < {tmp_path}/calls)" -eq "$DIES_AT" ]; then\n'
        '  while [ $# -gt 1 ]; do [ "$1" != -out ] || printf half > "$2"; shift; done\n  kill -9 $PPID\nfi\n'
        f'exec {real} "$@"\n'
    )
    (tmp_path / "bin" / "openssl").chmod(0o755)
    for number in range(1, 11):
        shutil.rmtree(tmp_path / "secrets", ignore_errors=True)
        (tmp_path / "calls").unlink(missing_ok=True)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DIES_AT": str(number)}
        subprocess.run([script], env=environment, capture_output=True, check=False)
        subprocess.run([script], capture_output=True, check=True)
        secrets = tmp_path / "secrets"
        verify = ["openssl", "verify", "-CAfile", secrets / "ca.crt", secrets / "tls.crt", secrets / "client.crt"]
        subprocess.run(verify, capture_output=True, check=True)
        assert re.fullmatch(r'"Bearer [0-9a-f]{64}" me;\n', (secrets / "tokens.map").read_text()), number
        assert len((secrets / "grafana_password").read_text()) == 33, number


def test_grafana_finds_its_source_and_its_dashboard(compose):
    """The data source has the uid that every panel uses, and the dashboard is where Grafana looks for it."""
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "hangtag.yaml").read_text())["providers"]
    dashboard = json.loads((ROOT / "serving" / "monitoring" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert any(target.startswith(provider["options"]["path"] + "/") for target in mounted)
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
