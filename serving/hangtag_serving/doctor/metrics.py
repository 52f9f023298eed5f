"""Prometheus metrics about versions that should be served and are not.

TensorFlow Serving's own metrics do not show it: a folder without saved_model.pb is not counted by
`load_attempt_count`, a failed warmup counts as a success, and a failure that is counted appears with value 2 at once,
so that `increase` over it is 0. So each scrape compares the versions on disk that the config selects with the status
that the server reports.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hangtag import Client, HangtagError
from hangtag.errors import InvalidInput

from ..errors import ServingError
from ..models.model_config import ModelConfig, read_config
from ..models.version_policy import scan

_STATUS_SECONDS = 5.0  # for one model; a scrape of Prometheus ends after 10
_CONNECTION_SECONDS = 10.0

_HELP = {
    "hangtag_config_readable": "1 if the model config can be read, else 0.",
    "hangtag_server_answers": "1 if the server reports the status of the model, else 0.",
    "hangtag_version_state": "1 for the state that the server reports of a version.",
    "hangtag_version_missing": "1 for a version on disk that should be served and is not AVAILABLE.",
    "hangtag_versions_missing": "The number of versions on disk that should be served and are not AVAILABLE.",
}


@dataclass(frozen=True)
class Source:
    """The source of the model names: a config file, or one model with its `base_path` on this machine, if any."""

    config: Path | None
    name: str
    base_path: Path | None
    path_map: Mapping[str, Path]

    def models(self) -> list[ModelConfig]:
        """The models, read again at each scrape; raises InvalidInput or ServingError."""
        if self.config is not None:
            return read_config(self.config, self.path_map)
        return [ModelConfig(self.name, self.base_path or Path(os.devnull))]


def from_environment(config: Path | None, model: str, path_map: Mapping[str, Path]) -> Source:
    """The source by MODEL_NAME and MODEL_BASE_PATH, as the server's image uses them, the config file, or `model`."""
    if name := os.environ.get("MODEL_NAME"):
        return Source(None, name, Path(os.environ.get("MODEL_BASE_PATH") or "/models") / name, path_map)
    return Source(config, model, None, path_map)


Sample = tuple[str, dict[str, str], int]


def collect(target: str, source: Source) -> str:
    """All metrics in Prometheus's text format."""
    samples: list[Sample] = []
    try:
        configs = source.models()
        samples.append(("hangtag_config_readable", {}, 1))
    except (InvalidInput, ServingError):
        configs = []
        samples.append(("hangtag_config_readable", {}, 0))
    for config in configs:
        samples += _model_samples(target, config)
    return _text(samples)


def _model_samples(target: str, config: ModelConfig) -> Iterator[Sample]:
    labels = {"model_name": config.name}
    try:
        wanted = set(config.policy(scan(config.base_path)))
    except OSError:  # the folder is not on this machine: only the status is known
        wanted = set()
    try:
        with Client(target, model=config.name, timeout=_STATUS_SECONDS) as client:
            states = {status.version: status for status in client.status()}
        yield "hangtag_server_answers", labels, 1
    except HangtagError as error:
        states = {}
        yield "hangtag_server_answers", labels, int(error.code == "NOT_FOUND")
        if error.code != "NOT_FOUND":
            return  # nothing is known about versions
    for version, status in sorted(states.items()):
        yield "hangtag_version_state", labels | {"version": str(version), "state": status.state}, 1
    failed = {version for version, status in states.items() if status.error_code != "OK"}
    available = {version for version, status in states.items() if status.state == "AVAILABLE"}
    # Without the folder, a failed version counts until a newer one is available.
    missing = wanted - available if wanted else {v for v in failed if v > max(available, default=-1)}
    for version in sorted(missing):
        yield "hangtag_version_missing", labels | {"version": str(version)}, 1
    yield "hangtag_versions_missing", labels, len(missing)


def _text(samples: Iterable[Sample]) -> str:
    lines: list[str] = []
    listed = list(samples)
    for name, text in _HELP.items():
        own = [(labels, value) for metric, labels, value in listed if metric == name]
        if own:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_braces(labels)} {value}" for labels, value in own]
    return "\n".join(lines) + "\n"


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {key: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, text in labels.items()}
    return "{" + ",".join(f'{key}="{text}"' for key, text in escaped.items()) + "}"


def serve_metrics(address: str, target: str, source: Source) -> int:
    """Answer GET /metrics at `host:port` until SIGTERM or Ctrl-C; returns the exit code 0."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"--metrics is {address}: give HOST:PORT, or a port on this machine alone")

    class Handler(BaseHTTPRequestHandler):
        timeout = _CONNECTION_SECONDS

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            body = collect(target, source).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    try:
        server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler)
    except OSError as error:
        raise InvalidInput(f"cannot listen on {address}: {error.strerror}") from error
    server.daemon_threads = True
    print(f"metrics of {target} on http://{host or '127.0.0.1'}:{port}/metrics", file=sys.stderr, flush=True)
    with server:
        server.serve_forever()
    return 0
