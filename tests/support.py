"""What several tests need: real server processes on free loopback ports, and programs run as a user runs them."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hangtag import Client
from prestarted import Prestarted

ROOT = Path(__file__).resolve().parent.parent
HANGTAG = [sys.executable, "-m", "hangtag.cli"]
T = TypeVar("T")

PATIENCE = 240.0  # seconds; a bound for a machine under load, never a measure


def run(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `hangtag` with these arguments to its end, in a process that has imported its modules already."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = Prestarted(arguments, stdout, stderr, cwd=cwd, env=env)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(["hangtag", *arguments], code, stdout.read_text(), stderr.read_text())


def free_port() -> int:
    """A port that refuses connections until a program of the tests listens on it.

    It stays bound here, so that no other program gets it in the meantime, for a connection or to listen: only one that
    asks for this very port does, as servers set SO_REUSEADDR. Other systems than Linux do not let two bind it.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    if sys.platform == "linux":
        atexit.register(reserved.close)  # bound until then
    else:
        reserved.close()
    return port


def eventually(condition, what: str, patience: float = PATIENCE):
    """The first true value of `condition()`; fails when none came in time."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {patience:g} s for {what}, which did not happen"
        time.sleep(0.02)


def with_more_time(attempt: Callable[[float], T], seconds: float) -> T:
    """The first true value of `attempt(seconds)`, which is tried again with more time: a machine may have been busy.

    For what has to fit into a time that the test gives.
    """
    while not (value := attempt(seconds)):
        assert seconds < PATIENCE, f"it did not fit into {seconds:g} s"
        seconds *= 3
    return value


@dataclass
class Server:
    """A running `hangtag serve`."""

    process: subprocess.Popen[bytes] | Prestarted
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
    prestarted: bool = True,
    versions: int = 1,
) -> Iterator[Server]:
    """Run `hangtag serve` on free ports, or on these, until the block ends; `log` gets all it prints.

    `versions` is the number to wait for: the ports open when each model has one, and others load a moment later.
    `prestarted` says whether TensorFlow is imported already: the command starts as users start it without.
    """
    grpc, rest = ports or (free_port(), free_port())
    command = ["serve", f"--model_base_path={base_path}", f"--port={grpc}", f"--rest_api_port={rest}", *flags]
    log.write_text("")
    process: subprocess.Popen[bytes] | Prestarted
    if prestarted:
        process = Prestarted(command, log, log)
    else:
        with log.open("w") as file:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen([*HANGTAG, *command], stdout=file, stderr=file, env=environment)
    server = Server(process, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{rest}", log)
    try:
        if wait:
            with Client(server.rest, model=model) as client:
                eventually(lambda: client.ready() or _dead(server), "the server to be ready")
            loaded = " is available, loaded in "
            eventually(lambda: server.log_text().count(loaded) >= versions or _dead(server), "all versions")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _dead(server: Server) -> bool:
    assert server.process.poll() is None, f"the server ended: {server.log_text()}"
    return False
