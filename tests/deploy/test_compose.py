"""The compose file and what it mounts, as far as they can be checked without Docker."""

from __future__ import annotations

import argparse
import json
import re

import pytest
import yaml
from compose_spec import PyCompose

from hangtag_serving.doctor.compose import interpolate
from hangtag_serving.flags import add_flags
from support import ROOT

DOCKER = ROOT / "serving" / "docker"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.parametrize("name", ["compose", "gpu", "embedded"])
def test_the_files_are_valid_by_the_compose_specification(name):
    """Every key and every value, with the variables at their defaults."""
    text = (DOCKER / f"{name}.yaml").read_text().replace("!reset ", "")
    document = interpolate(yaml.safe_load(text), {})
    assert "tfserving" in PyCompose.from_yaml(yaml.safe_dump(document)).service_names()


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
    assert server["entrypoint"] == ["bash", "/config/start.sh", "tensorflow_model_server"]
    assert server["init"] is True
    assert server["user"] == "65534:65534"


def test_answers_are_not_serialized_as_tensor_content():
    """With that flag the C++ server's REST responses contain process memory, and a string output ends it."""
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


def test_the_check_before_the_server_has_its_image_user_and_mounts(compose):
    check, server = compose["services"]["check"], compose["services"]["tfserving"]
    assert server["depends_on"] == {"check": {"condition": "service_completed_successfully"}}
    assert check["entrypoint"] == ["bash", "/config/check.sh"]
    for key in ("image", "volumes", "environment", "user"):
        assert check[key] == server[key]
    assert "ports" not in check
    assert "command" not in check


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
