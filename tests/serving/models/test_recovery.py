"""What the server does when versions or config files are broken: it still serves what it can."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

from support import PATIENCE, Server, eventually, serving

MODELS = Path(__file__).parents[1] / "conformance" / "models"
IMAGE = np.full((1, 28, 28), 7, np.uint8).tolist()
QUICKLY = ["--file_system_poll_wait_seconds=0.1", "--max_num_load_retries=0"]


def answers(server: Server, model: str = "fashion") -> bool:
    response = requests.post(f"{server.rest}/v1/models/{model}:predict", json={"instances": IMAGE}, timeout=60)
    return response.status_code == 200


def states(server: Server, model: str = "fashion") -> dict[int, str]:
    entries = requests.get(f"{server.rest}/v1/models/{model}", timeout=60).json()["model_version_status"]
    return {int(entry["version"]): entry["state"] for entry in entries}


def entry(name: str, base_path: Path) -> str:
    return f"config {{ name: '{name}' base_path: '{base_path}' model_platform: 'tensorflow' }}"


def config(*entries: str) -> str:
    return f"model_config_list {{ {' '.join(entries)} }}"


@pytest.fixture
def broken_newest(tmp_path: Path) -> Path:
    """Versions 1, 2 and 3; the variables of 3 and the graph of 2 are missing."""
    base_path = tmp_path / "fashion"
    for version in ("1", "2", "3"):
        shutil.copytree(MODELS / "fashion" / version, base_path / version)
    shutil.rmtree(base_path / "3" / "variables")
    (base_path / "2" / "saved_model.pb").unlink()
    return base_path


def test_the_newest_version_that_loads_is_served_after_a_restart(broken_newest, tmp_path):
    """And gives way as soon as a version that the policy names loads."""
    with serving(broken_newest, tmp_path / "log", *QUICKLY) as server:
        assert answers(server)
        assert states(server) == {3: "END", 2: "END", 1: "AVAILABLE"}
        said = "no version of the policy loads; serving version 1, the newest version that loads"
        eventually(lambda: said in server.log_text(), "the log to say so")
        (broken_newest / ".copy").mkdir()
        shutil.copytree(MODELS / "fashion" / "2", broken_newest / ".copy" / "4")
        (broken_newest / ".copy" / "4").rename(broken_newest / "4")
        eventually(
            lambda: states(server).get(4) == "AVAILABLE" and states(server)[1] == "END", "version 4 to take over"
        )
        assert answers(server)


def test_the_fallback_can_be_turned_off(broken_newest, tmp_path):
    with serving(broken_newest, tmp_path / "log", *QUICKLY, "--serve_older_versions=false", wait=False) as server:
        assert server.process.wait(PATIENCE) == 1
    assert "1 servable(s) did not become available: {{{name: fashion version: 3} due to error: " in server.log_text()


@pytest.mark.parametrize(
    "text", ["", "\n# nothing\n", "model_config_list { config { name: 'fash", "\0\1\2", "model_config_list {" * 3000],
    ids=["empty", "comment", "half written", "binary", "nested"],
)  # fmt: skip
def test_a_broken_config_file_changes_nothing_and_is_logged(polled, text):
    server, file, good = polled
    before = server.log_text().count("is not applied, the served models do not change")
    file.write_text(text)
    eventually(
        lambda: server.log_text().count("is not applied, the served models do not change") > before, "the refusal"
    )
    assert answers(server)
    file.write_text(good)


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory):
    """A server that polls a config file; the file, and its first content."""
    folder = tmp_path_factory.mktemp("polled")
    file, good = folder / "models.config", config(entry("fashion", MODELS / "fashion"))
    file.write_text(good)
    flags = [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=0.1", *QUICKLY]
    with serving(Path("unused"), folder / "log", *flags) as server:
        yield server, file, good


def test_a_wrong_folder_blocks_neither_later_configs_nor_reloads(polled, tmp_path):
    server, file, good = polled
    file.write_text(config(entry("fashion", MODELS / "fashion"), entry("typo", tmp_path / "nowhere")))
    eventually(lambda: "Could not find base path" in server.log_text(), "the warning")
    file.write_text(config(entry("fashion", MODELS / "fashion"), entry("second", MODELS / "fashion")))
    eventually(lambda: answers(server, "second"), "the next config")
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config(entry("fashion", MODELS / "fashion"), entry("other", tmp_path / "away")), request.config)
    with grpc.insecure_channel(server.grpc) as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        with pytest.raises(grpc.RpcError) as caught:
            reload(request.SerializeToString(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "{name: other} due to error: NOT_FOUND: Could not find base path" in caught.value.details()
    assert answers(server)
    file.write_text(good + " # the end")
    shutil.copytree(MODELS / "fashion" / "1", tmp_path / "away" / "1")


def test_a_config_that_cannot_be_waited_for_is_corrected_while_starting(tmp_path):
    """A model without versions keeps the ports closed; a corrected file opens them."""
    file = tmp_path / "models.config"
    file.write_text(config(entry("fashion", tmp_path / "nowhere")))
    flags = [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=0.1", *QUICKLY]
    with serving(Path("unused"), tmp_path / "log", *flags, wait=False) as server:
        eventually(lambda: "Could not find base path" in server.log_text(), "the warning")
        file.write_text(config(entry("shirts", MODELS / "fashion")))
        eventually(lambda: "serving " in server.log_text(), "the ports to open")
        eventually(lambda: answers(server, "shirts"), "an answer")
