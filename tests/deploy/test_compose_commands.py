"""The commands of the compose file, run with the embedded server in the container's place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from hangtag import Client
from hangtag_serving.doctor.compose import interpolate
from support import PATIENCE, ROOT, eventually, free_port


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())


STAND_IN = """
# Ends as TensorFlow Serving does if a version that is to be served has no saved_model.pb. Else it is `hangtag serve`,
# or with DRY_RUN it prints which versions those are.
import argparse, os, sys
from pathlib import Path
from hangtag_serving.models.model_config import ModelConfig, read_config
from hangtag_serving.flags import add_flags
from hangtag_serving.models.version_policy import scan

parser = argparse.ArgumentParser()
add_flags(parser)
flags = parser.parse_args()
one = ModelConfig(flags.model_name, Path(flags.model_base_path))
models = read_config(flags.model_config_file, {}) if flags.model_config_file else [one]
served = {model.name: sorted(model.policy(scan(model.base_path))) for model in models}
for model in models:
    for version in served[model.name]:
        if not (model.base_path / str(version) / "saved_model.pb").exists():
            start = "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name:"
            print(start, model.name, f"version: {version}", "} due to error: NOT_FOUND: no saved_model.pb}, }")
            sys.exit(255)
if "DRY_RUN" in os.environ:
    sys.exit(f"serves {served}")
os.execvp("hangtag", ["hangtag", "serve", *sys.argv[1:]])
"""


class Stack:
    """The compose file's services `check` and `tfserving`, run here: the container's paths are in a folder."""

    def __init__(self, folder: Path, compose: dict, **environment: str) -> None:
        self.folder = folder
        self.ports = {"8500": str(free_port()), "8501": str(free_port())}
        server = interpolate(compose["services"]["tfserving"], environment)
        check = interpolate(compose["services"]["check"], environment)
        self.environment = os.environ | {name: self._here(text) for name, text in server["environment"].items()}
        self.environment |= {"MODEL_CONFIG_FILE": str(folder / "config/models.config"), "REST_PORT": self.ports["8501"]}
        self.environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(folder)}
        self.server = [*map(self._here, server["entrypoint"]), *map(self._here, server["command"])]
        self.check = [*map(self._here, check["entrypoint"])]
        self.ready = ["bash", *map(self._here, server["healthcheck"]["test"][2:])]
        stand_in = folder / "bin" / "tensorflow_model_server"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f"#!{sys.executable}{STAND_IN}")
        stand_in.chmod(0o755)
        config = folder / "config" / "models.config"
        config.write_text(config.read_text().replace('"/models/', f'"{folder}/models/'))

    def _here(self, text: str) -> str:
        text = re.sub(r"(?<=[=^])/config/|^/config/", f"{self.folder}/config/", text)
        text = re.sub(r"(?<=[=])/models|^/models", f"{self.folder}/models", text)
        text = text.replace("poll_wait_seconds=10", "poll_wait_seconds=0.2")
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


@contextmanager
def started(stack: Stack) -> Iterator[Client]:
    """The server, once the health check succeeds; yields a client of its model `goods`."""
    with (stack.folder / "log").open("w") as log:
        server = subprocess.Popen(stack.server, env=stack.environment, stdout=log, stderr=log)
    try:
        eventually(
            lambda: server.poll() is not None or stack.run(stack.ready).returncode == 0, "the health check to succeed"
        )
        assert server.poll() is None, (stack.folder / "log").read_text()
        with Client(f"127.0.0.1:{stack.ports['8500']}", model="goods") as client:
            yield client
    finally:
        server.terminate()
        code = server.wait(PATIENCE)
    assert code == 0


def test_the_commands_serve_the_model_of_a_variable(compose, folder, exported):
    """MODEL_NAME alone names it; check and health check follow."""
    shutil.copytree(exported, folder / "models" / "goods")
    (folder / "config" / "models.config").write_text("")
    stack = Stack(folder, compose, MODEL_NAME="goods")
    checked = stack.run(stack.check)
    assert checked.returncode == 0, checked.stderr
    before = stack.run(stack.ready)
    assert before.returncode == 1
    assert "goods is not ready: nothing listens on port" in before.stderr
    with started(stack) as client:
        assert client.classify(ROOT / "docs/images/ankle-boot.png").labels[0] == "Ankle boot"


def test_a_restart_with_broken_newest_versions_serves_the_one_before(compose, folder, exported):
    """The log names what was left out; the next version that loads is served without a restart."""
    goods = folder / "models" / "goods"
    shutil.copytree(exported, goods)
    for number in ("2", "10"):
        (goods / number).mkdir()
    config = folder / "config" / "models.config"
    config.write_text(config.read_text().replace("fashion", "goods"))
    stack = Stack(folder, compose)
    assert stack.run(stack.check).returncode == 0
    with started(stack) as client:
        assert client.metadata().version == 1
        log = (folder / "log").read_text()
        assert "version 10 of goods does not load: starting with version 2." in log
        assert "version 2 of goods does not load: starting with version 1." in log
        assert "mv models/goods/2 models/goods/2.broken" in log
        shutil.copytree(goods / "1", goods / "incoming")
        (goods / "incoming").rename(goods / "11")
        eventually(
            lambda: {one.version: one.state for one in client.status()}.get(11) == "AVAILABLE", "version 11 to load"
        )
    assert not list(folder.glob("tmp.*"))  # nothing is left in /tmp


@pytest.mark.parametrize(
    ("config", "broken", "printed"),
    [
        (None, ["goods/2"], "serves {'goods': [1]}"),
        ("", ["goods/2"], "serves {'fashion': [3], 'goods': [1]}"),
        ("", ["goods/2", "fashion/3"], "serves {'fashion': [1], 'goods': [1]}"),
        ("model_version_policy { specific { versions: 2 } }", ["goods/2", "fashion/3"], "models.config requires it"),
        ("model_version_policy { latest { num_versions: 2 } }", ["goods/2"], "models.config requires it"),
    ],
    ids=["variable", "one of two models", "both", "a version", "a policy"],
)
def test_only_versions_that_the_config_does_not_choose_are_replaced(compose, folder, config, broken, printed):
    for path in ("goods/1", "goods/2", "fashion/1", "fashion/3"):
        (folder / "models" / path).mkdir(parents=True)
        if path not in broken:
            (folder / "models" / path / "saved_model.pb").touch()
    (folder / "config" / "models.config").write_text(f"""# config {{ name: "goods" }}
        model_config_list: {{
          config {{ name: "fashion" base_path: "/models/fashion" model_platform: "tensorflow" }}
          config: {{ base_path : "/models/goods" model_platform: "tensorflow" # }}
            name: "goods" {config} }}
        }}""")
    stack = Stack(folder, compose, **({"MODEL_NAME": "goods"} if config is None else {}))
    stack.environment["DRY_RUN"] = "yes"
    done = stack.run(stack.server)
    assert printed in done.stdout + done.stderr
    assert done.returncode == 1


def test_a_broken_version_without_an_older_one_is_named(compose, folder):
    (folder / "models" / "goods" / "2").mkdir(parents=True)
    stack = Stack(folder, compose, MODEL_NAME="goods")
    done = stack.run(stack.server)
    assert done.returncode == 1
    assert "version 2 of goods does not load, and there is no older one: publish it again" in done.stderr


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
    assert "has no model" in stack.run(stack.ready).stderr


def test_the_check_says_at_once_that_there_is_no_version(compose, folder):
    (folder / "models" / "fashion").mkdir()
    stack = Stack(folder, compose)
    done = stack.run(stack.check)
    assert done.returncode == 1
    assert "make train MODEL=fashion" in done.stderr
    assert "hangtag publish" in done.stderr
