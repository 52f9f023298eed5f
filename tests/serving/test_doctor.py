"""The doctor reports what would go wrong and what to do, and nothing about what we ship."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from fake_server import FIRST_PIXEL, Model, Refused, model_server
from hangtag.cli.main import main
from hangtag_serving.doctor import FAIL, OK, WARN, Finding
from hangtag_serving.doctor.model_files import examine_base_path, examine_config
from hangtag_serving.doctor.running_server import examine_server
from prestarted import run_python
from support import PATIENCE, ROOT, free_port, run, serving


@pytest.fixture
def base_path(exported, tmp_path) -> Path:
    """A base path of its own with version 1."""
    folder = tmp_path / "fashion"
    shutil.copytree(exported / "1", folder / "1")
    return folder


MODELS = ROOT / "tests" / "serving" / "conformance" / "models"


def levels(findings: list[Finding], level: str) -> str:
    return "\n".join(finding.line() for finding in findings if finding.level == level)


# ---- base paths


def test_an_exported_version_is_in_order(base_path):
    findings = list(examine_base_path(base_path))
    assert levels(findings, FAIL) == ""
    assert "loads as in TensorFlow Serving; 6 signatures" in levels(findings, OK)
    assert levels(findings, WARN) == ""
    assert "image files in WebP are refused by the 2.20 image" in levels(findings, OK)
    assert "with one thread per operation" in levels(findings, OK)


def test_an_empty_a_missing_and_a_misplaced_base_path(base_path, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no folder whose name is a number" in levels(list(examine_base_path(tmp_path / "empty")), FAIL)
    assert "cannot be read: No such file" in levels(list(examine_base_path(tmp_path / "none")), FAIL)
    assert "is a version itself" in levels(list(examine_base_path(base_path / "1")), FAIL)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda version: (version / "saved_model.pb").unlink(), "does not appear to contain a SavedModel"),
        (lambda version: shutil.rmtree(version / "variables"), "does not load"),
        (lambda version: (version / "saved_model.pb").write_bytes(b"garbage"), "does not load"),
        (lambda version: warmup(version).write_bytes(b"garbage" * 20), "a warmup request fails"),
    ],
    ids=["no graph", "no variables", "garbage", "warmup"],
)
def test_a_newest_version_that_would_not_load(base_path, damage, message):
    shutil.copytree(base_path / "1", base_path / "2")
    damage(base_path / "2")
    findings = list(examine_base_path(base_path))
    (failure,) = [finding for finding in findings if finding.level == FAIL]
    assert message in failure.message
    assert "hangtag export" in failure.fix
    assert f"{base_path / '1'}: loads" in levels(findings, OK)


def warmup(version: Path) -> Path:
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    return path


def test_folder_names_and_modes_that_the_server_cannot_use(base_path):
    (base_path / "v2").mkdir()
    (base_path / ".staging").mkdir()
    (base_path / "1" / "saved_model.pb").chmod(0o600)
    findings = list(examine_base_path(base_path))
    warnings = levels(findings, WARN)
    assert "v2: is skipped: its name is not a number" in warnings
    assert ".staging" not in warnings
    assert "saved_model.pb: cannot be read by user 65534" in levels(findings, FAIL)


# ---- config files


def config(tmp_path: Path, inside: str) -> Path:
    file = tmp_path / "models.config"
    text = f'name: "fashion" base_path: "/models/fashion" {inside}'
    file.write_text(f"model_config_list {{ config {{ {text} }} }}")
    return file


@pytest.mark.parametrize(
    ("inside", "level", "message"),
    [
        ('model_platform: "tensorflow"', OK, "serves fashion"),
        ("", FAIL, "neither ModelServerConfig::model_type"),
        ('model_platform: "tensorflow" nonsense: 1', FAIL, "cannot parse"),
        (
            'model_platform: "tensorflow" model_version_policy { specific { versions: 1 versions: 9 } }',
            FAIL,
            "needs version 9, which is not in",
        ),
        (
            'model_platform: "tensorflow" version_labels { key: "stable" value: 9 }',
            FAIL,
            "label 'stable' of fashion points to version 9",
        ),
        (
            'model_platform: "tensorflow" version_labels { key: "stable" value: 1 }',
            WARN,
            "--allow_version_labels_for_unavailable_models",
        ),
    ],
)
def test_a_config_file(base_path, tmp_path, inside, level, message):
    findings = list(examine_config(config(tmp_path, inside), {"/models": base_path.parent}))
    assert message in levels(findings, level)
    assert bool(levels(findings, FAIL)) == (level == FAIL)


# ---- the command


def test_the_command_exits_with_1_if_anything_would_fail(base_path, tmp_path, capsys):
    good = run("doctor", str(base_path))
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stderr == ""
    (base_path / "1" / "saved_model.pb").unlink()
    assert main(["doctor", str(base_path), "--json"]) == 1
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"level", "code", "subject", "message", "fix"} == documents[0].keys()
    assert "fail" in {document["level"] for document in documents}
    assert main(["doctor", str(tmp_path / "not" / "there")]) == 2


def test_a_running_server(server):
    for target in (server.grpc, server.rest):
        done = run("doctor", target)
        assert done.returncode == 0, done.stdout
        assert "fashion version 1 answers" in done.stdout
        assert "10 class names, from T-shirt/top to Ankle boot" in done.stdout
        assert "one image at a time: p50" in done.stdout
    done = run("doctor", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stdout.startswith("fail")


def test_limits_of_a_running_server_are_found(careful):
    """One that takes small requests only, over both protocols."""
    for target in (careful.grpc, careful.rest):
        findings = list(examine_server(target, "fashion"))
        assert "a request of 5 MiB is refused" in levels(findings, WARN)
        assert "one image at a time: p50" in levels(findings, OK)
        assert levels(findings, FAIL) == ""


def test_a_server_with_few_threads_is_found():
    """As the C++ server with its default of four threads a core: what exceeds them is refused at once."""
    threads, refused = threading.Semaphore(4), threading.Event()

    def hook(number: int) -> None:
        if not threads.acquire(blocking=False):
            refused.set()
            raise Refused("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        if number > 1:  # after the names and the first request, each of which comes alone
            refused.wait(PATIENCE)
        threads.release()

    with model_server(Model(FIRST_PIXEL, hook=hook), "grpc") as target:
        (found,) = [one for one in examine_server(target, "fashion") if one.level == WARN]
    assert "calls failed with 32 at once" in found.message
    assert "Server Threadpool Exhausted" in found.message
    assert "raise --grpc_max_threads" in found.fix


def test_the_canary_overlays_config_is_in_order_once_both_versions_are_there(base_path):
    shutil.copytree(base_path / "1", base_path / "2")
    file = ROOT / "serving" / "kubernetes" / "overlays" / "canary" / "models.config"
    findings = list(examine_config(file, {"/models": base_path.parent}))
    assert levels(findings, FAIL) == ""
    assert "serves fashion" in levels(findings, OK)


# ---- models of others


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths with models that load and cannot be served, saved in a process of their own."""
    folder = tmp_path_factory.mktemp("others")
    run_python(OTHERS, folder)
    return folder


OTHERS = """
import sys, tensorflow as tf
class Python(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x): return {"y": tf.numpy_function(lambda a: a * 2, [x], tf.float32)}
class Ragged(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text): return {"pieces": tf.strings.split(text)}
class Convolution(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")])
    def serve(self, x): return {"y": tf.nn.conv2d(x, tf.ones([3, 3, 1, 1]), 1, "SAME"), "z": tf.constant(1.0)}
for model in (Python(), Ragged(), Convolution()):
    folder = f"{sys.argv[1]}/{type(model).__name__.lower()}/1"
    tf.saved_model.save(model, folder, signatures={"serving_default": model.serve})
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python", "PyFunc has no kernel in TensorFlow Serving"),
        ("ragged", "output pieces of serving_default is a ragged tensor, which no request can fetch"),
    ],
)
def test_a_model_whose_requests_would_all_fail(others, name, message):
    """Loading shows nothing; the last line of the report is the failure."""
    findings = list(examine_base_path(others / name))
    assert findings[-1].level == FAIL
    assert message in findings[-1].message
    assert "loads as in TensorFlow Serving" not in levels(findings, OK)


def test_threads_are_recommended_by_the_graph(others, base_path):
    """One for an operation if the graph is small and dense, TensorFlow's choice with convolutions."""
    convolution = list(examine_base_path(others / "convolution"))
    assert levels(convolution, FAIL) == ""
    assert "op_parallelism" not in levels(convolution, OK)
    assert "output z of serving_default has no batch dimension" in levels(convolution, WARN)
    assert "--tensorflow_intra_op_parallelism=1" in levels(list(examine_base_path(base_path)), OK)


def test_files_that_are_no_saved_models(tmp_path, base_path):
    for folder in (tmp_path / "keras", base_path):
        folder.mkdir(exist_ok=True)
        (folder / "model.keras").touch()
    alone, beside = list(examine_base_path(tmp_path / "keras")), list(examine_base_path(base_path))
    assert f"hangtag publish {tmp_path}/keras/model.keras" in levels(alone, FAIL)
    assert f"hangtag publish {base_path}/model.keras" in levels(beside, WARN)
    assert levels(beside, FAIL) == ""


def test_a_folder_of_base_paths(base_path):
    (failure,) = [one for one in examine_base_path(base_path.parent) if one.code == "no-version"]
    assert "is a folder of base paths (fashion)" in failure.message
    assert failure.fix == f"hangtag doctor {base_path}"


@pytest.mark.parametrize("subject", ["models", "nowhere/models", "model.keras", "other.yaml"])
def test_what_does_not_exist_is_said_to_not_exist(subject, tmp_path, monkeypatch, capsys):
    """A word without a port is a folder, not a host whose name cannot be resolved."""
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", subject]) == 2
    assert f"{subject} does not exist" in capsys.readouterr().err
    assert main(["doctor", ""]) == main(["inspect", ""]) == main(["evaluate", ""]) == 2, "not the current folder"
    assert capsys.readouterr().err.count(" is empty: give a") == 3


def test_a_keras_file_is_not_a_version(tmp_path, capsys):
    (tmp_path / "model.keras").touch()
    assert main(["doctor", str(tmp_path / "model.keras")]) == 2
    assert "hangtag publish" in capsys.readouterr().err


def test_unlabelled_calls_that_go_to_the_canary_and_paths_of_a_container(base_path, tmp_path):
    shutil.copytree(base_path / "1", base_path / "2")
    file = config(
        tmp_path,
        'model_platform: "tensorflow" model_version_policy { all {} } version_labels { key: "stable" value: 1 }',
    )
    findings = list(examine_config(file, {"/models": base_path.parent}))
    assert "calls to fashion without a label are answered by version 2" in levels(findings, WARN)
    assert "--path_map /models=models" in levels(list(examine_config(file, {})), WARN)


def test_answers_in_tensor_content_are_a_failure(recorded_flags, tmp_path):
    """Of a running server, over gRPC: there the answer shows it."""
    flags = [*recorded_flags, "--enable_serialization_as_tensor_content=true"]
    with serving(MODELS / "fashion", tmp_path / "log", *flags) as server:
        findings = list(examine_server(server.grpc, "fashion"))
    assert "process memory" in levels(findings, FAIL)
