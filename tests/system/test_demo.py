"""The demo, the example behind `make playground`, and that both stop what they started."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hangtag import Client
from playgrounds import MODELS, Playground
from support import PATIENCE, ROOT, eventually

DEMO = [sys.executable, str(ROOT / "examples" / "demo.py"), "--epochs=1"]


def processes_of(group: int) -> list[int]:
    """Living processes of a process group; zombies have nothing left to stop."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgid = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(pgid) == group and state != "Z":
            found.append(int(entry.name))
    return found


def test_the_demo_trains_serves_classifies_and_agrees_with_keras(tmp_path):
    options = [f"--base-path={tmp_path / 'fashion'}", f"--output={tmp_path / 'demo'}"]
    done = subprocess.run(
        [*DEMO, *options], cwd=tmp_path, capture_output=True, text=True, timeout=3 * PATIENCE, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["images"] == 10_000
    assert summary["model_version"] == 1
    assert summary["server"] == "embedded"
    assert summary["accuracy"].keys() == {"keras", "grpc", "rest"}
    assert len(set(summary["accuracy"].values())) == 1
    assert summary["accuracy"]["keras"] > 0.8
    assert summary["seconds"].keys() == {"setup", "train", "grpc", "rest"}
    assert (tmp_path / "demo" / "predictions.png").read_bytes().startswith(b"\x89PNG")


TRAINED_BEFORE = """import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import demo
demo.train = lambda base_path, keras_file, epochs: base_path / "1"
sys.exit(demo.main())
"""
"""The demo, but that its training finds the work done."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_demo_stops_its_server(exported, tmp_path, number, code):
    """Ctrl-C on a terminal goes to the demo and its server alike, SIGTERM to the demo alone."""
    options = [f"--base-path={exported}", f"--output={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, "-c", TRAINED_BEFORE, ROOT / "examples", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        for line in demo.stdout:
            if line.startswith("serving "):
                break
        assert len(processes_of(demo.pid)) >= 2
        if number == signal.SIGINT:
            os.killpg(demo.pid, number)
        else:
            demo.send_signal(number)
        demo.communicate(timeout=PATIENCE)
    assert demo.returncode == code
    eventually(lambda: not processes_of(demo.pid), "all that it started to end")


def test_an_interrupted_demo_stops_its_training(tmp_path):
    options = [f"--base-path={tmp_path / 'fashion'}", f"--output={tmp_path / 'demo'}"]
    with subprocess.Popen([*DEMO, *options], stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        assert demo.stdout.readline().startswith("fashion-mnist: ")
        demo.terminate()
        demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 143
    eventually(lambda: not processes_of(demo.pid), "all that it started to end")
    assert list((tmp_path / "fashion").glob("[0-9]*")) == []


def test_the_example_serves_the_newest_two_versions_and_stops_what_it_started():
    """examples/playground.py, which make playground runs."""
    command = [
        sys.executable,
        "-u",
        ROOT / "examples" / "playground.py",
        "--port=0",
        f"--base-path={MODELS / 'fashion'}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"http://\S+(?=/ \(Ctrl)", line)))
            started = Playground(process, url, [])
            eventually(lambda: started.get("/api/state").json()["labels"] == {"stable": 2, "canary": 3}, "both labels")
            model_server = started.get("/api/state").json()["targets"]["grpc"]
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 143
    with Client(model_server, retries=0) as client:
        assert not client.ready()
