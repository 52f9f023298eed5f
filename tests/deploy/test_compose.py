"""The compose file and what it mounts, as far as they can be checked without Docker."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess

import pytest
import yaml

from hangtag_serving.flags import add_flags
from support import ROOT, free_port

DOCKER = ROOT / "serving" / "docker"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_every_service_is_hardened(compose):
    for name, service in compose["services"].items():
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


def test_what_is_mounted_is_in_the_repository(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            if volume.startswith("${HANGTAG_MODELS"):
                continue  # which the reader trains
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), (name, source)
            else:
                assert source in compose["volumes"], (name, source)
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]


def test_files_that_the_flags_name_are_mounted(compose):
    for name in ("tfserving", "embedded"):
        for flag in compose["services"][name]["command"]:
            if match := re.fullmatch(r"--\w+_file=/config/(.+)", flag):
                assert (ROOT / "serving" / "config" / match[1]).is_file()


def test_the_embedded_server_knows_its_flags(compose):
    """Those of compose, and those of the image itself."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    entrypoint, command = (
        json.loads(re.search(rf"^{word} (\[.*\])$", dockerfile, re.MULTILINE)[1]) for word in ("ENTRYPOINT", "CMD")
    )
    assert entrypoint[:2] == ["hangtag", "serve"]
    parser = argparse.ArgumentParser()
    add_flags(parser)
    for arguments in (command, compose["services"]["embedded"]["command"]):
        assert parser.parse_args([*entrypoint[2:], *arguments]).host == "0.0.0.0"  # noqa: S104 - a container's own


def test_the_health_check_asks_for_the_served_model(compose):
    words = compose["services"]["tfserving"]["healthcheck"]["test"]
    assert words[:3] == ["CMD", "bash", "-c"]
    assert "/v1/models/fashion/metadata" in words[3]
    assert 'name: "fashion"' in (ROOT / "serving" / "config" / "models.config").read_text()


def test_the_health_check_tells_a_ready_server_from_another(compose, server, tmp_path):
    """Its very words, run by bash against the embedded server."""
    words = compose["services"]["tfserving"]["healthcheck"]["test"][3]
    ready = words.replace("8501", server.rest.rsplit(":", 1)[1])
    assert subprocess.run(["bash", "-c", ready], check=False).returncode == 0
    other = ready.replace("/models/fashion/", "/models/nope/")
    assert subprocess.run(["bash", "-c", other], check=False).returncode != 0
    nobody = words.replace("8501", str(free_port()))
    assert subprocess.run(["bash", "-c", nobody], check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_the_image_of_the_embedded_server_copies_what_the_install_needs():
    text = (DOCKER / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
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


def test_grafana_finds_its_source_and_its_dashboard(compose):
    """The data source has the uid that every panel asks for, and the dashboard lies where it is looked for."""
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
