"""What is measured runs in processes of its own: workers, and the servers that they talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
OVMS = Path("build/benchmarks/ovmsclient")
ROUNDS = 3


def work(name: str, target: str = "", **environment: str) -> dict[str, float]:
    """One run of a worker."""
    command = [sys.executable, str(HERE / "workers.py"), name, target]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


Times = dict[str, list[float]]
"""Seconds by measurement, one a round."""


def side_by_side(jobs: dict[str, Callable[[], dict[str, float]]]) -> dict[str, Times]:
    """Each job in turn, a few rounds of it."""
    found: dict[str, Times] = {name: {} for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            for key, value in job().items():
                found[name].setdefault(key, []).append(value)
    return found


def per_round(ours: list[float], theirs: list[float]) -> list[float]:
    """The ratio of each round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


@contextmanager
def constant(protocol: str, *shape: int) -> Iterator[str]:
    command = [sys.executable, str(HERE / "servers.py"), protocol, *map(str, shape)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def hangtag_serve(base_path: Path) -> Iterator[str]:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [f"--model_base_path={base_path.absolute()}", "--model_name=fashion", f"--port={port}", "--rest_api_port=0"]
    server = subprocess.Popen([sys.executable, "-m", "hangtag.cli", "serve", *flags], stdout=subprocess.DEVNULL)
    try:
        from hangtag import Client

        with Client(f"127.0.0.1:{port}") as client:
            client.wait_ready(120)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def ovms() -> str:
    """The separate folder where ovmsclient is installed: it must not get into the project's environment."""
    if not OVMS.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(OVMS)]
        subprocess.run([*pip, "ovmsclient==2023.1"], check=True)
    return str(OVMS.absolute())
