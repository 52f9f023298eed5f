"""What doctor finds in deployment files: nothing in what we ship, and each mistake in the folder of broken inputs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from hangtag_serving.doctor import FAIL, OK, WARN, Finding
from hangtag_serving.doctor.deployment import examine_deployment
from hangtag_serving.doctor.model_files import examine_config
from support import ROOT, run

BROKEN = ROOT / "tests" / "deploy" / "broken"
SERVING = ROOT / "serving"
FILES = sorted(path for folder in ("compose", "kubernetes", "config") for path in (BROKEN / folder).glob("*.*"))


def expected(file: Path) -> tuple[str, str]:
    """The level and the code in the first line of a broken input."""
    return re.match(r"# expect: (\w+) ([\w-]+)\n", file.read_text()).groups()


def shown(findings: list[Finding]) -> str:
    return "\n".join(finding.line() for finding in findings)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The broken inputs, with a version of a model with convolutions beside them."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = tmp_path_factory.mktemp("broken") / "broken"
    shutil.copytree(BROKEN, folder)
    version = folder / "models-with-convolutions" / "fashion" / "1"
    version.mkdir(parents=True)
    model = SavedModel()
    model.meta_graphs.add().graph_def.node.add(name="conv", op="Conv2D")
    (version / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("file", FILES, ids=[f"{path.parent.name}/{path.name}" for path in FILES])
def test_a_broken_input_is_reported(file, broken):
    """With the level and the code that its first line names, with what to do, and no other failure."""
    level, code = expected(file)
    path = broken / file.relative_to(BROKEN)
    if path.suffix == ".config":
        findings = list(examine_config(path, {"/models": broken / "compose" / "models"}))
        findings = [one for one in findings if one.subject == str(path)]
    else:
        findings = list(examine_deployment(path))
    (found, *_) = [one for one in findings if one.code == code] or [None]
    assert found, f"{code} is not among\n{shown(findings)}"
    assert found.level == level
    assert found.fix or level == FAIL
    others = [one for one in findings if one.code not in (code, "prerequisite") and one.level in (FAIL, WARN)]
    assert not [one for one in others if one.level == FAIL], shown(others)
    if level == WARN:
        assert not others, shown(others)


def test_every_check_of_deployments_has_a_broken_input():
    """A check that could be deleted without a failing test would not be in the list."""
    sources = [path.read_text() for path in (SERVING / "hangtag_serving" / "doctor").glob("*.py")]
    named = {code for text in sources for code in re.findall(r'Finding\(\s*(?:FAIL|WARN), "([\w-]+)"', text)}
    flags = (SERVING / "hangtag_serving" / "doctor" / "server_flags.py").read_text()
    named |= set(re.findall(r'Rule\(\s*"([\w-]+)"', flags))
    covered = {expected(file)[1] for file in FILES}
    on_disk = {"base-path", "version-as-base-path", "model-file", "skipped-folder", "unreadable", "does-not-load"}
    on_disk |= {"warmup", "no-warmup", "signatures", "ragged", "no-batch-dimension", "python-op"}
    running = {"not-ready", "load-failed", "class-names", "not-tested", "refuses-load", "request-size", "request-fails"}
    assert named - covered - on_disk - running - {"path-map", "unlabelled"} == set()


# ---- what we ship


@pytest.fixture(scope="module")
def shipped(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment files beside a folder of models."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copytree(SERVING, folder / "serving", ignore=shutil.ignore_patterns("hangtag_serving", "secrets"))
    shutil.copytree(exported, folder / "models" / "fashion")
    return folder


@pytest.mark.parametrize("names", [("compose",), ("compose", "gpu"), ("compose", "embedded")], ids="+".join)
def test_the_compose_files_are_in_order(shipped, names):
    """The server and the check before it."""
    findings = list(examine_deployment(*(shipped / "serving" / "docker" / f"{name}.yaml" for name in names)))
    assert [(one.level, one.code) for one in findings] == [(OK, "deployment")], shown(findings)


def test_the_compose_file_without_models_says_how_to_get_one(shipped, tmp_path):
    shutil.copytree(shipped / "serving", tmp_path / "serving")
    done = run("doctor", str(tmp_path / "serving" / "docker" / "compose.yaml"))
    assert done.returncode == 1
    assert "make train" in done.stdout
    assert "hangtag publish" in done.stdout


def test_one_variable_names_another_model(shipped, monkeypatch):
    """MODEL_NAME, as TensorFlow Serving's image has it: the flags and the health check follow."""
    monkeypatch.setenv("MODEL_NAME", "goods")
    compose = shipped / "serving" / "docker" / "compose.yaml"
    findings = list(examine_deployment(compose))
    assert {one.code for one in findings if one.level == FAIL} == {"models-missing"}
    assert "models/goods, the base path of goods, does not exist" in shown(findings)
    shutil.copytree(shipped / "models" / "fashion", shipped / "models" / "goods")
    assert [one.level for one in examine_deployment(compose)] == [OK]


KINDS = {
    "single": set(),
    "canary": set(),
    "shared": set(),
    "autoscaled": {"Secret hangtag-store", "metrics-server"},
    "edge": {"Secret hangtag-edge"},
    "gateway": {"Secret hangtag-tls", "Gateway API"},
    "weighted": {"Secret hangtag-tls", "Gateway API"},
    "monitored": {"Prometheus Operator"},
    "gpu": {"a node with nvidia.com/gpu"},
}


@pytest.mark.parametrize("name", KINDS)
def test_the_overlays_are_in_order_and_their_prerequisites_are_named(shipped, kubectl_on_path, name):
    findings = list(examine_deployment(shipped / "serving" / "kubernetes" / "overlays" / name))
    assert {one.code for one in findings} <= {"deployment", "prerequisite"}, shown(findings)
    needed = {re.match(r"needs (.*), which", one.message)[1] for one in findings if one.code == "prerequisite"}
    assert needed == KINDS[name]
    assert [one.level for one in findings][-1] == OK


def test_the_cluster_is_asked_for_prerequisites(shipped, kubectl_on_path, tmp_path, monkeypatch):
    """By a kubectl that knows the secret, and no metrics-server."""
    real = shutil.which("kubectl")
    fake = tmp_path / "bin" / "kubectl"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in\n  kustomize*) exec {real} "$@" ;;\n  "get secret hangtag-store "*) echo found ;;\n'
        '  *) echo "Error from server (NotFound)" >&2; exit 1 ;;\nesac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{Path('/usr/bin')}:/bin")
    overlay = shipped / "serving" / "kubernetes" / "overlays" / "autoscaled"
    findings = [one for one in examine_deployment(overlay, cluster=True) if one.code == "prerequisite"]
    assert [(one.level, "hangtag-store" in one.message) for one in findings] == [(OK, True), (FAIL, False)]
    assert "metrics-server, which the cluster does not have (Error from server (NotFound))" in findings[1].message


def test_the_inference_service_answers_grpc():
    findings = list(examine_deployment(SERVING / "kubernetes" / "kserve" / "inferenceservice.yaml"))
    assert "answers gRPC on KServe's port 9000" in shown(findings)
    assert [one for one in findings if one.level == FAIL] == []


def test_the_stock_image_has_rest(tmp_path):
    """Its entrypoint sets both ports, and serves what MODEL_NAME names."""
    (tmp_path / "models" / "goods" / "1").mkdir(parents=True)
    file = tmp_path / "compose.yaml"
    file.write_text(
        "services: { s: { image: 'tensorflow/serving:2.20.0', environment: { MODEL_NAME: goods }, "
        "volumes: ['./models/goods:/models/goods'] } }"
    )
    codes = {one.code for one in examine_deployment(file)}
    assert "rest-off" not in codes
    assert not {"no-models", "models-not-mounted", "no-version"} & codes


def test_a_folder_of_compose_and_an_overlay_are_found_by_their_folders(shipped, kubectl_on_path):
    for folder in ("docker", "kubernetes/overlays/single"):
        done = run("doctor", str(shipped / "serving" / folder))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "runs" in done.stdout


def test_the_model_of_a_variable_file_and_of_words_after_flags_is_found(tmp_path):
    """The embedded server takes `--flag VALUE`, the C++ server does not; both take their variables from files."""
    (tmp_path / "models" / "goods" / "1").mkdir(parents=True)
    (tmp_path / "goods.env").write_text("MODEL_NAME=goods\n")
    mount = "volumes: ['./models:/models']"
    for service in (
        f"{{ image: 'hub.example.com/tensorflow/serving:2.20.0', env_file: goods.env, {mount} }}",
        f"{{ image: hangtag-serve, command: [hangtag serve, --model_base_path, /models/goods], {mount} }}",
    ):
        (tmp_path / "compose.yaml").write_text(f"services: {{ model: {service} }}\n")
        findings = list(examine_deployment(tmp_path / "compose.yaml"))
        assert not [one for one in findings if one.level == FAIL], shown(findings)
        assert findings[-1].message == "runs one model server"
