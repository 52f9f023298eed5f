"""The playground as a user runs it, and a model server with two versions for it."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from support import PATIENCE, ROOT, Server, serving

MODELS = ROOT / "tests" / "serving" / "conformance" / "models"


def write_config(folder: Path, versions: Sequence[int] = (1, 2), labels: bool = True) -> Path:
    """A model config file of the recorded models' `versions`; the first is stable, the second canary."""
    policy = "".join(f" versions: {version}" for version in versions)
    named = zip(("stable", "canary"), versions, strict=False) if labels else ()
    entries = "".join(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in named)
    file = folder / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "fashion" base_path: "{MODELS / "fashion"}"'
        f' model_platform: "tensorflow" model_version_policy {{ specific {{{policy} }} }} {entries} }} }}'
    )
    return file


@contextmanager
def two_version_server(folder: Path, ports: tuple[int, int] | None = None) -> Iterator[Server]:
    """`hangtag serve` with two versions, their labels, metrics, and a config file that is read again and again."""
    flags = (
        f"--model_config_file={write_config(folder)}",
        "--model_config_file_poll_wait_seconds=0.2",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={ROOT / 'serving' / 'config' / 'monitoring.config'}",
    )
    with serving(MODELS / "fashion", folder / "log", *flags, ports=ports, versions=2) as server:
        yield server


@dataclass
class Playground:
    """A running `hangtag playground`; `lines` is what it has printed."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def get(self, path: str, **options) -> requests.Response:
        return requests.get(self.url + path, timeout=PATIENCE, **options)

    def post(self, path: str, data: bytes = b"", **query: object) -> requests.Response:
        """As the page posts: with its Origin."""
        parameters = {"model": "fashion", **query}
        origin = {"Origin": self.url}
        return requests.post(self.url + path, data=data, params=parameters, headers=origin, timeout=PATIENCE)


@contextmanager
def playground(*arguments: str, **environment: str) -> Iterator[Playground]:
    """Run `hangtag playground` until the block ends, on a free port unless `arguments` say otherwise."""
    command = ["hangtag", "playground", "--port=0", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )
    lines: list[str] = []
    arrived: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.append(line)
            arrived.put(line)
        arrived.put("")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        first = arrived.get(timeout=PATIENCE)
        found = re.search(r"http://\S+(?=/ )", first)
        assert found, f"the playground did not start: {first}"
        yield Playground(process, found[0], lines)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        reader.join()
        process.stdout.close()
