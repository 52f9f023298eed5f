"""What several tests need: real server processes on free loopback ports, and programs run as a user runs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hangtag import Client

ROOT = Path(__file__).resolve().parent.parent
HANGTAG = [sys.executable, "-m", "hangtag.cli"]
PATIENCE = 240.0  # seconds; a bound for a machine under load, never a measure


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `hangtag` with these arguments to its end."""
    return subprocess.run(
        [*HANGTAG, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return opened.getsockname()[1]


def eventually(condition, what: str, patience: float = PATIENCE):
    """The first true value of `condition()`; fails when none came in time."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {patience:g} s for {what}, which did not happen"
        time.sleep(0.02)


@dataclass
class Server:
    """A running `hangtag serve`."""

    process: subprocess.Popen[str]
    grpc: str
    rest: str
    log: Path

    def target(self, protocol: str) -> str:
        return self.grpc if protocol == "grpc" else self.rest

    def log_text(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(
    base_path: Path,
    log: Path,
    *flags: str,
    wait: bool = True,
    model: str = "fashion",
    ports: tuple[int, int] | None = None,
) -> Iterator[Server]:
    """Run `hangtag serve` on free ports, or on these, until the block ends; `log` gets all it prints."""
    grpc, rest = ports or (free_port(), free_port())
    command = [*HANGTAG, "serve", f"--model_base_path={base_path}", f"--port={grpc}", f"--rest_api_port={rest}", *flags]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    server = Server(process, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{rest}", log)
    try:
        if wait:
            with Client(server.rest, model=model) as client:
                eventually(lambda: client.ready() or _dead(server), "the server to be ready")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _dead(server: Server) -> bool:
    assert server.process.poll() is None, f"the server ended: {server.log_text()}"
    return False
