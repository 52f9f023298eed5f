"""Prometheus itself scrapes the embedded server, and every query of the dashboard and the rules finds something."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml

from hangtag import Client, HangtagError
from programs import program
from support import ROOT, Server, eventually, free_port, serving

CONFIG = ROOT / "serving" / "config"
MONITORING = ROOT / "serving" / "monitoring"

NEEDS_FAILURE = {
    "TensorFlowServingDown",
    "TensorFlowServingErrors",
    "TensorFlowServingSlow",
    "TensorFlowServingLoadFailed",
}
"""Alerts find nothing while all is well; test_rules.py makes each of them fire."""


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


@pytest.fixture(scope="module")
def prometheus(monitored: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with our configuration, apart from the address and the pace; returns its URL."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [monitored.rest.removeprefix("http://")]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    # Rates over five minutes of a server that is seconds old: shorten them, nothing else.
    rules = (MONITORING / "rules.yaml").read_text().replace("[5m]", "[10s]").replace("for: ", "keep_firing_for: 0s #")
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
    except requests.ConnectionError:
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
                    client.predict({"images": [b"rubbish"]}, signature="encoded_images")

    callers = [threading.Thread(target=call, args=(target,)) for target in (monitored.grpc, monitored.rest)]
    for caller in callers:
        caller.start()
    yield
    stop.set()
    for caller in callers:
        caller.join()


def queries() -> list[tuple[str, str]]:
    """Every expression of the dashboard and of the recording rules, by where it stands."""
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
    for variable, value in (("$model", ".+"), ("$__rate_interval", "10s"), ("$__range", "1m")):
        expression = expression.replace(variable, value)

    def ask() -> list[dict]:
        answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", answer
        return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]

    assert eventually(ask, f"an answer to {where}: {expression}", 30)


def test_the_dashboards_variable_lists_the_model(prometheus, traffic):
    (variable,) = json.loads((MONITORING / "dashboard.json").read_text())["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["query"]["query"]).groups()
    address = f"{prometheus}/api/v1/label/{label}/values"
    eventually(
        lambda: requests.get(address, params={"match[]": metric}, timeout=10).json()["data"] == ["fashion"], "fashion"
    )


def test_failures_are_counted_by_their_status(monitored, traffic):
    address = f"{monitored.rest}/monitoring/prometheus/metrics"
    text = eventually(
        lambda: (text := requests.get(address, timeout=10).text) and "INVALID" in text and text, "a failure"
    )
    assert re.search(r':tensorflow:serving:request_count\{model_name="fashion",status="OK"\} \d', text)
    assert re.search(r':tensorflow:serving:request_count\{model_name="fashion",status="INVALID_ARGUMENT"\} \d', text)
