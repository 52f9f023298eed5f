"""Versions are added, break and are removed; configs change; the served model stays available."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, prediction_log_pb2

from hangtag import InvalidInput
from hangtag.cli.main import main
from hangtag.optional import require
from hangtag_serving.batching.parameters import read_batching
from hangtag_serving.flags import WITHOUT_EFFECT
from support import ROOT, Server, eventually, run, serving

MODELS = Path(__file__).parents[1] / "conformance" / "models"
FASHION = MODELS / "fashion"
IMAGE = np.full((1, 28, 28), 7, np.uint8).tolist()
QUICKLY = ["--file_system_poll_wait_seconds=0.1", "--max_num_load_retries=0"]


def publish(source: Path, base_path: Path, number: int, damage=lambda folder: None) -> None:
    """Copy a version to a folder next to its place, damage it, and rename it into place."""
    staged = base_path / f".copy-{number}"
    shutil.copytree(source, staged)
    damage(staged)
    staged.rename(base_path / str(number))


def states(server: Server, model: str = "fashion") -> dict[int, tuple[str, str, str]]:
    """State, error code and error message by version; none of a model that the server does not know."""
    answer = requests.get(f"{server.rest}/v1/models/{model}", timeout=60).json()
    return {
        int(v["version"]): (v["state"], v["status"]["error_code"], v["status"]["error_message"])
        for v in answer.get("model_version_status", ())
    }


def predict(server: Server, where: str = "fashion") -> requests.Response:
    return requests.post(f"{server.rest}/v1/models/{where}:predict", json={"instances": IMAGE}, timeout=60)


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server whose base path the tests change; they use version numbers of their own, upwards."""
    base_path = tmp_path_factory.mktemp("living") / "fashion"
    shutil.copytree(FASHION / "1", base_path / "1")
    with serving(base_path, base_path.parent / "log", *QUICKLY) as server:
        yield server, base_path


def write_no_record(folder: Path) -> None:
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_text("this is no TFRecord, but some text")


def write_wrong_warmup(folder: Path) -> None:
    tf = require("tensorflow", extra="serving", what="the test")
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "fashion"
    log.predict_log.request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 28, 28), np.float32)))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def write_warmup_that_cannot_be_read(folder: Path) -> None:
    """Reading the memory of a process from its start is an input/output error, as on a broken disk."""
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").symlink_to("/proc/self/mem")


def cut_variables(folder: Path) -> None:
    with (folder / "variables" / "variables.data-00000-of-00001").open("r+b") as file:
        file.truncate(1000)


BROKEN = [
    (2, lambda f: (f / "saved_model.pb").unlink(), "NOT_FOUND", "does not appear to contain a SavedModel bundle"),
    (3, lambda f: shutil.rmtree(f / "variables"), "NOT_FOUND", "is its variables/ folder complete?"),
    (4, cut_variables, "OUT_OF_RANGE", "Read less bytes than requested"),
    (5, lambda f: (f / "saved_model.pb").write_bytes(b"garbage"), "OUT_OF_RANGE", "Read less bytes than requested"),
    (6, write_no_record, "DATA_LOSS", "corrupted record at 0 (Is this even a TFRecord file?). Please verify"),
    (7, write_wrong_warmup, "INVALID_ARGUMENT", "Expects arg[0] to be uint8 but float is provided"),
    (8, write_warmup_that_cannot_be_read, "INTERNAL", "internal error; the server's log has the reason"),
]


@pytest.mark.parametrize(
    ("number", "damage", "code", "part"),
    BROKEN,
    ids=["no saved_model.pb", "no variables", "cut variables", "garbage", "no TFRecord", "wrong warmup", "no reading"],
)
def test_a_broken_version_never_disturbs_the_one_that_serves(living, number, damage, code, part):
    server, base_path = living
    publish(FASHION / "2", base_path, number, damage)
    state, error_code, message = eventually(
        lambda: states(server).get(number, ("",))[0] == "END" and states(server)[number], f"version {number} to fail"
    )
    assert (state, error_code) == ("END", code)
    assert part in message
    assert states(server)[1][0] == "AVAILABLE"
    assert predict(server).status_code == 200


def test_all_versions_may_go_and_a_new_one_come(living):
    """What was there stays in the status as END; a file named like a version fails and says why."""
    server, base_path = living
    for folder in list(base_path.iterdir()):
        shutil.rmtree(folder)
    eventually(lambda: states(server)[1][0] == "END", "version 1 to be unloaded")
    assert predict(server).json() == {"error": "Servable not found for request: Latest(fashion)"}
    publish(FASHION / "2", base_path, 0)
    eventually(lambda: predict(server).status_code == 200, "version 0")
    (base_path / "not-a-number").mkdir()
    (base_path / "00000123").write_text("a file")
    eventually(lambda: states(server).get(123, ("",))[0] == "END", "the file to fail")
    code, part = states(server)[123][1:]
    assert code == "FAILED_PRECONDITION"
    assert part.endswith("00000123; Not a directory")
    assert predict(server).status_code == 200


def config(*models: str) -> str:
    return "model_config_list {" + "".join(f"config {{ model_platform: 'tensorflow' {m} }}" for m in models) + "}"


def versions(*numbers: int, labels: str = "") -> str:
    listed = " ".join(f"versions: {number}" for number in numbers)
    stated = " ".join(
        f"version_labels {{ key: '{key}' value: {value} }}" for key, value in (p.split("=") for p in labels.split())
    )
    return f"name: 'fashion' base_path: '/models/fashion' model_version_policy {{ specific {{ {listed} }} }} {stated}"


def test_the_config_file_is_followed(tmp_path):
    """Policies, labels and models change as the file does; what the C++ server refuses is refused, and logged."""
    file = tmp_path / "models.config"
    file.write_text(config(versions(1, labels="stable=1")))
    flags = [
        f"--model_config_file={file}",
        f"--path_map=/models={MODELS}",
        "--model_config_file_poll_wait_seconds=0.1",
        "--allow_version_labels_for_unavailable_models",
        *QUICKLY,
    ]
    with serving(Path("unused"), tmp_path / "log", *flags) as server:

        def stable() -> int:
            return predict(server, "fashion/labels/stable").status_code

        one = predict(server, "fashion/labels/stable").json()
        file.write_text(config(versions(1, 2, labels="stable=1 canary=2")))
        eventually(lambda: predict(server, "fashion/labels/canary").status_code == 200, "the new label")
        two = predict(server, "fashion/labels/canary").json()
        assert predict(server, "fashion/labels/stable").json() == one != two
        file.write_text(config(versions(1, 2, labels="stable=2")))
        eventually(lambda: predict(server, "fashion/labels/stable").json() == two, "stable to be moved")
        # Moving a label to a version that is not loaded: refused whole, however often it is read.
        file.write_text(config(versions(1, 2, 3, labels="stable=3")))
        part = "Request to assign label to version 3 of model fashion, which is not currently available for inference"
        eventually(lambda: part in server.log_text(), "the refusal")
        assert 3 not in states(server)
        file.write_text("model_config_list {")
        eventually(lambda: "cannot parse the model config file" in server.log_text(), "the parse error")
        assert stable() == 200
        file.write_text(config("name: 'types' base_path: '/models/types'"))
        eventually(lambda: predict(server).status_code == 404, "fashion to be dropped")
        eventually(lambda: states(server, "types").get(1, ("",))[0] == "AVAILABLE", "types to be loaded")
        assert eventually(lambda: states(server)[2][0] == "END", "fashion to be unloaded")
        file.write_text(
            config("name: 'types' base_path: '/models/fashion' model_version_policy { specific { versions: 1 } }")
        )
        eventually(lambda: "types version 1 is still served from" in server.log_text(), "what stays to be logged")
        assert server.stop() == 0


def test_models_are_replaced_by_the_reload_call(tmp_path):
    import grpc

    with serving(FASHION, tmp_path / "log", *QUICKLY) as server:
        method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

        def reload(text: str) -> None:
            request = model_management_pb2.ReloadConfigRequest()
            text_format.Parse(text, request.config)
            with grpc.insecure_channel(server.grpc) as channel:
                channel.unary_unary(method)(request.SerializeToString(), timeout=60)

        listed = f"name: 'types' base_path: '{MODELS}/types'"
        reload(config(listed, f"name: 'fashion' base_path: '{FASHION}' model_version_policy {{ all {{}} }}"))
        eventually(lambda: [s[0] for s in states(server).values()] == ["AVAILABLE"] * 3, "all versions")
        (tmp_path / "broken" / "1").mkdir(parents=True)
        with pytest.raises(grpc.RpcError) as caught:
            reload(config(listed, f"name: 'broken' base_path: '{tmp_path}/broken'"))
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert caught.value.details().startswith(
            "1 model(s) did not become available: {{name: broken version: 1} due to error: NOT_FOUND: Specified file"
        )


def test_usage_errors_are_one_sentence(tmp_path):
    wrong = run("serve", "--enable_bathing")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].endswith("unknown flag --enable_bathing: did you mean --enable_batching?")
    parameters = run("serve", "--batching_parameters_file=x")
    assert parameters.returncode == 2
    assert "is set without setting server_options.enable_batching to true." in parameters.stderr
    config_file = tmp_path / "models.config"
    config_file.write_text(config("name: 'a' base_path: 'relative'"))
    relative = run("serve", f"--model_config_file={config_file}")
    assert relative.returncode == 1
    assert "Expected model a to have an absolute path or URI; got base_path()=relative" in relative.stderr
    missing = run("serve", "--model_config_file=/nowhere/models.config")
    assert missing.returncode == 2
    assert (
        missing.stderr
        == "hangtag: cannot read the model config file /nowhere/models.config: No such file or directory\n"
    )


def test_flags_without_effect_say_so_and_are_in_the_table_of_differences():
    differences = (ROOT / "docs" / "reference" / "serving.md").read_text()
    for name in WITHOUT_EFFECT:
        assert f"`--{name}`" in differences, name
    done = run("serve", "--num_load_threads=4", "--model_config_file=/nowhere/models.config")
    assert "--num_load_threads is accepted but has no effect in this server" in done.stderr


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size in .* is 0: give 1 or more"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 1001 }",
            "input_batch_size_limit must be greater than or equal to max_execution_batch_size",
        ),
        (
            "max_batch_size { value: 8 } max_execution_batch_size { value: 4 } allowed_batch_sizes: 4 "
            "enable_large_batch_splitting { value: true }",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ("max_batch { value: 8 }", "cannot parse the batching parameters file"),
    ],
)
def test_batching_parameters_that_make_no_sense_are_refused(tmp_path, text, part):
    (tmp_path / "parameters").write_text(text)
    with pytest.raises(InvalidInput, match=part):
        read_batching(tmp_path / "parameters")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--port=0", "--rest_api_port=0"], "both ports are 0, which is off"),
        (["--port=8500", "--rest_api_port=8500"], "gRPC and REST cannot both have port 8500"),
        (["--port=70000"], "--port is 70000: a port is between 1 and 65535, 0 is off"),
        (["--max_json_depth=255"], "--max_json_depth is 255: give 1 to 254"),
        (["--grpc_max_threads=0"], "--grpc_max_threads is 0: give 1 or more"),
        (["--grpc_channel_arguments=a"], "--grpc_channel_arguments has 'a': give k=v,k=v"),
        (["--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"], "sets the other two"),
        (["--batching_parameters_file=/nowhere", "--enable_batching"], "cannot read the batching parameters file"),
        (["--model_base_path=", "--model_config_file=", "--ssl_config_file="], "--model_base_path is empty"),
        (["--monitoring_config_file=/nowhere"], "cannot read the monitoring config file /nowhere"),
    ],
)
def test_flags_that_make_no_sense_are_one_sentence(capsys, flags, part):
    assert main(["serve", *flags]) == 2
    assert part in capsys.readouterr().err.splitlines()[-1]


def test_values_that_are_none_are_bad_usage(capsys):
    for flag in ("--port=x", "--enable_batching=maybe", "--path_map=models", "--grpc_front=other"):
        with pytest.raises(SystemExit) as ended:
            main(["serve", flag])
        assert ended.value.code == 2
        assert flag.split("=")[0] in capsys.readouterr().err
