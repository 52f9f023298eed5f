"""Prometheus itself scrapes the embedded server, and every query of the dashboard and the rules finds something."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml

from hangtag import Client, HangtagError
from programs import program
from support import HANGTAG, ROOT, Server, eventually, free_port, run, serving

CONFIG = ROOT / "serving" / "config"
MONITORING = ROOT / "serving" / "monitoring"

NEEDS_FAILURE = {
    "TensorFlowServingDown",
    "TensorFlowServingErrors",
    "TensorFlowServingSlow",
    "TensorFlowServingLoadFailed",
    "TensorFlowServingExporterDown",
}
"""Alerts find nothing while all is well; test_rules.py makes each of them fire."""

FAILED_LOADS = Path(__file__).parent / "failed_loads"
"""TensorFlow Serving's status and metrics after version 3 came without saved_model.pb and the file of 5 was cut."""


@pytest.fixture(scope="module")
def monitored(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server, started from the very files that the container gets."""
    log = tmp_path_factory.mktemp("monitored") / "log"
    flags = (
        f"--model_config_file={CONFIG / 'models.config'}",
        f"--monitoring_config_file={CONFIG / 'monitoring.config'}",
        f"--batching_parameters_file={CONFIG / 'batching.config'}",
        "--enable_batching=true",
        f"--path_map=/models={exported.parent}",
    )
    with serving(exported, log, *flags) as server:
        yield server


@contextlib.contextmanager
def exporting(target: str, *flags: str, **environment: str) -> Iterator[str]:
    """`hangtag doctor --metrics` about `target`; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [*HANGTAG, "doctor", target, f"--metrics={address}", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        try:
            assert f"http://{address}/metrics" in process.stderr.readline()
            yield address
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def exporter(monitored: Server, exported: Path) -> Iterator[str]:
    """The exporter for that server, with the config that both read."""
    flags = f"--config={CONFIG / 'models.config'}", f"--path_map=/models={exported.parent}"
    with exporting(monitored.grpc, *flags) as address:
        yield address


@pytest.fixture(scope="module")
def prometheus(monitored: Server, exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus over both; returns its URL."""
    with running_prometheus(
        tmp_path_factory.mktemp("prometheus"), monitored.rest.removeprefix("http://"), exporter
    ) as url:
        yield url


@contextlib.contextmanager
def running_prometheus(folder: Path, *targets: str) -> Iterator[str]:
    """Prometheus with our configuration, apart from the addresses and the pace; yields its URL."""
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    # The time for a scrape is that between two: a busy server needs some.
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "500ms"}
    for job, target in zip(config["scrape_configs"], targets, strict=True):
        job["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    # Rates over five minutes of a server that is seconds old: shorten them, nothing else.
    rules = (MONITORING / "rules.yaml").read_text().replace("[5m]", "[20s]").replace("for: ", "keep_firing_for: 0s #")
    (folder / "rules.yaml").write_text(re.sub(r" *keep_firing_for.*\n", "", rules))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus", "usr/bin/prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: _up(address), "Prometheus")
            yield f"http://{address}"
        finally:
            process.terminate()


def _up(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/-/ready", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def traffic(monitored: Server, images: np.ndarray) -> Iterator[None]:
    """Good and bad calls over both protocols, for as long as the tests ask for rates."""
    stop = threading.Event()

    def call(target: str) -> None:
        with Client(target) as client:
            while not stop.wait(0.05):
                client.classify(images[:32])
                with contextlib.suppress(HangtagError):
                    client.predict({"images": [b"garbage"]}, signature="encoded_images")

    callers = [threading.Thread(target=call, args=(target,)) for target in (monitored.grpc, monitored.rest)]
    for caller in callers:
        caller.start()
    yield
    stop.set()
    for caller in callers:
        caller.join()


def queries() -> list[tuple[str, str]]:
    """Every expression of the dashboard and of the recording rules, by its place in the file."""
    found = []
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            found.append((f"{panel['title']} {target['refId']}", target["expr"]))
    for rule in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"][0]["rules"]:
        if rule.get("alert") not in NEEDS_FAILURE:
            found.append((rule["record"], rule["record"]))
    return found


@pytest.mark.parametrize(("where", "expression"), queries(), ids=[where for where, _ in queries()])
def test_the_query_finds_something(prometheus, traffic, where, expression):
    for variable, value in (("$model", ".+"), ("$__rate_interval", "20s"), ("$__range", "1m")):
        expression = expression.replace(variable, value)

    def ask() -> list[dict]:
        answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=60).json()
        assert answer["status"] == "success", answer
        return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]

    assert eventually(ask, f"an answer to {where}: {expression}")


def test_the_dashboards_variable_lists_the_model(prometheus, traffic):
    (variable,) = json.loads((MONITORING / "dashboard.json").read_text())["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["query"]["query"]).groups()
    address = f"{prometheus}/api/v1/label/{label}/values"
    eventually(
        lambda: requests.get(address, params={"match[]": metric}, timeout=60).json()["data"] == ["fashion"], "fashion"
    )


def test_failures_are_counted_by_their_status(monitored, traffic):
    address = f"{monitored.rest}/monitoring/prometheus/metrics"
    for status in ("OK", "INVALID_ARGUMENT"):
        series = rf':tensorflow:serving:request_count\{{model_name="fashion",status="{status}"\}} \d'
        eventually(lambda it=series: re.search(it, requests.get(address, timeout=60).text), f"the count of {status}")


# ---- versions that do not load


class FailedLoads(BaseHTTPRequestHandler):
    """Answers status and metrics as TensorFlow Serving does after two failed loads; see the folder's README."""

    def do_GET(self) -> None:
        is_status = self.path == "/v1/models/fashion"
        body = (FAILED_LOADS / ("status.json" if is_status else "metrics.txt")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if is_status else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FailedLoads)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_alert_on_failed_loads_fires(failing_server, tmp_path):
    """By a server's status and metrics, of which `increase(load_attempt_count)` shows nothing."""
    for number in (2, 3, 5):
        (tmp_path / "models" / "fashion" / str(number)).mkdir(parents=True)
    here = {"MODEL_NAME": "fashion", "MODEL_BASE_PATH": str(tmp_path / "models")}
    (tmp_path / "prometheus").mkdir()
    with (
        exporting(f"http://{failing_server}", **here) as exporter,
        running_prometheus(tmp_path / "prometheus", failing_server, exporter) as url,
    ):

        def firing() -> list[dict]:
            alerts = requests.get(f"{url}/api/v1/alerts", timeout=60).json()["data"]["alerts"]
            return [one for one in alerts if one["labels"]["alertname"] == "TensorFlowServingLoadFailed"]

        (alert,) = eventually(firing, "the alert")
        assert (alert["labels"]["model_name"], alert["labels"]["version"]) == ("fashion", "5")
        query = 'increase(:tensorflow:cc:saved_model:load_attempt_count{status!="success"}[1m]) > 0'
        found = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()["data"]["result"]
        assert found == []


def test_the_exporter_compares_the_disk_with_the_server(failing_server, tmp_path):
    """By the policies of the config; a config that cannot be read and a server that is away are metrics as well."""
    for number in (2, 3):
        (tmp_path / "fashion" / str(number)).mkdir(parents=True)
    config = tmp_path / "models.config"
    entry = f'name: "fashion" base_path: "{tmp_path}/fashion" model_platform: "tensorflow"'

    def metrics(address: str, policy: str) -> str:
        config.write_text(f"model_config_list {{ config {{ {entry} {policy} }} }}")
        return requests.get(f"http://{address}/metrics", timeout=60).text

    with exporting(f"http://{failing_server}", f"--config={config}") as address:
        newest = metrics(address, "")
        assert 'hangtag_version_missing{model_name="fashion",version="3"} 1' in newest
        assert 'hangtag_version_state{model_name="fashion",version="2",state="AVAILABLE"} 1' in newest
        pinned = metrics(address, "model_version_policy { specific { versions: 2 } }")
        assert 'hangtag_versions_missing{model_name="fashion"} 0' in pinned
        assert "hangtag_version_missing" not in pinned
        assert "hangtag_config_readable 0" in metrics(address, "nonsense: 1")
        assert requests.get(f"http://{address}/", timeout=60).status_code == 404
    with exporting(f"http://127.0.0.1:{free_port()}", f"--config={config}") as address:
        assert 'hangtag_server_answers{model_name="fashion"} 0' in metrics(address, "")


def test_the_exporter_needs_an_address_and_a_server(tmp_path):
    for arguments in (["localhost:1", "--metrics=nonsense"], [str(tmp_path), "--metrics=9187"]):
        done = run("doctor", *arguments)
        assert done.returncode == 2
        assert "--metrics" in done.stderr
