"""Commands without the seconds that TensorFlow's import takes: forks of a process that has imported it.

Each is a process of its own, with its memory, sockets, files and signals. It does not show how the command starts, nor
how the interpreter ends: tests of these start it as users do.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

_CONTEXT = multiprocessing.get_context("forkserver")


class Prestarted:
    """`hangtag` with these arguments, as much like `subprocess.Popen` as the tests need. Output is added to files."""

    def __init__(
        self,
        arguments: Sequence[str],
        stdout: Path,
        stderr: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        _start_fork_server()
        inherited = dict(os.environ if env is None else env), cwd or Path.cwd()
        self._process = _CONTEXT.Process(target=_run, args=(list(arguments), stdout, stderr, *inherited), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("hangtag", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _start_fork_server() -> None:
    """Does nothing where it runs. Python passes it no module path of ours, hence the variable."""
    _CONTEXT.set_forkserver_preload(["prestarted_imports"])
    folders = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(folders)):
        forkserver.ensure_running()


def _run(arguments: list[str], stdout: Path, stderr: Path, environment: dict[str, str], folder: Path) -> None:
    from hangtag.cli.main import main

    for number, path, stream in ((1, stdout, sys.stdout), (2, stderr, sys.stderr)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
        stream.reconfigure(line_buffering=True, write_through=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["hangtag", *arguments]
    sys.exit(main())
