"""Run the code blocks of a page of the documentation, in order, as a reader does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import PATIENCE, ROOT, eventually, free_port, run

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
SERVERS = ("hangtag serve", "flask ", "uvicorn ")
"""Commands that run until they are stopped."""


class Walkthrough:
    """Runs the blocks in `folder`, with free ports instead of those on the page."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.model = model
        self.ports = {port: str(free_port()) for port in ("8500", "5000", "8000")}
        self.outputs: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {"PYTHONUNBUFFERED": "1"}

    def run(self, language: str, code: str) -> None:
        for port, free in self.ports.items():
            code = re.sub(rf"\b{port}\b", free, code)
        if language == "python":
            (self.folder / FILE.match(code)[1]).write_text(code)
        elif code.startswith(SERVERS):
            self.start(code)
        elif not code.startswith("pip install"):
            if code.startswith("hangtag classify"):
                code = f"{code.rstrip()} --target localhost:{self.ports['8500']}"
            command = ["bash", "-euo", "pipefail", "-c", code]
            done = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            self.outputs.append(done.stdout)

    def start(self, code: str) -> None:
        command = shlex.split(code)
        if command[0] == "hangtag":
            command += [f"--port={self.ports['8500']}", f"--rest_api_port={free_port()}"]
        log = self.folder / f"{command[0]}.log"
        with log.open("w") as file:
            self.processes.append(
                subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=file, stderr=file)
            )
        if command[0] == "hangtag":
            wait = ["wait", f"--model={self.model}", f"--target=localhost:{self.ports['8500']}"]
            assert run(*wait, f"--timeout={PATIENCE}").returncode == 0
        else:
            port = self.ports["5000" if command[0] == "flask" else "8000"]
            eventually(lambda: self.answers(port), f"{command[0]} to answer")

    def answers(self, port: str) -> bool:
        assert self.processes[-1].poll() is None, "it has ended"
        try:
            urllib.request.urlopen(f"http://localhost:{port}/", timeout=10).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def post(self, port: str, body: bytes) -> tuple[int, dict]:
        request = urllib.request.Request(f"http://localhost:{self.ports[port]}/classify", body)
        request.add_header("Content-Type", "application/octet-stream")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@contextmanager
def walked(page: str, folder: Path, model: str) -> Iterator[Walkthrough]:
    """Every block of ``docs/how-to/PAGE`` has run in `folder`; its servers run until the block ends."""
    walkthrough = Walkthrough(folder, model)
    try:
        for language, code in BLOCK.findall((ROOT / "docs" / "how-to" / page).read_text()):
            walkthrough.run(language, code)
        yield walkthrough
    finally:
        for process in walkthrough.processes:
            process.terminate()
        for process in walkthrough.processes:
            process.wait(PATIENCE)
