"""Commands without the seconds that TensorFlow's import takes: forks of a process that has imported it.

Each is a process of its own, with its memory, sockets, files and signals. It does not show how the command starts, nor
how the interpreter ends: tests of these start it as users do. The process that verifies a new version is such a fork
too.
"""

from __future__ import annotations

import io
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

from hangtag_export.savedmodel import verification

_CONTEXT = multiprocessing.get_context("forkserver")
_SHARED = "HANGTAG_TESTS_FORK_SERVER"  # the address
_one_at_a_time = threading.Lock()  # every start looks whether other processes have ended, which is read once from each


class Prestarted:
    """`hangtag` with these arguments, as much like `subprocess.Popen` as the tests need. Output is added to files."""

    def __init__(
        self,
        arguments: Sequence[str],
        stdout: Path,
        stderr: Path,
        *,
        stdin: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        inherited = stdin, dict(os.environ if env is None else env), cwd or Path.cwd()
        self._process = _CONTEXT.Process(target=_run, args=(list(arguments), stdout, stderr, *inherited), daemon=True)
        _start(self._process)
        self.pid, self.sentinel = self._process.pid, self._process.sentinel

    def poll(self) -> int | None:
        return _exit_code(self._process)

    def wait(self, timeout: float | None = None) -> int:
        multiprocessing.connection.wait([self.sentinel], timeout)
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


def run_python(code: str, *arguments: object) -> str:
    """Run `code` with these arguments as `python -c` does; returns what it writes to standard output."""
    exit_code, stdout, stderr = _to_its_end(_run_code, code, [str(each) for each in arguments])
    assert exit_code == 0, stderr
    return stdout


class PrestartedVerification:
    """What `verification.start_process` returns, as far as it is used."""

    returncode: int | None = None

    def communicate(self, task: str) -> tuple[None, str]:
        self.returncode, _, stderr = _to_its_end(_verify, task)
        return None, stderr

    def kill(self) -> None:
        """It has ended."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _to_its_end(function: Callable[..., None], *arguments: object) -> tuple[int | None, str, str]:
    """Run a function in a fork; returns its exit code and what it writes to standard output and standard error."""
    with tempfile.NamedTemporaryFile() as stdout, tempfile.NamedTemporaryFile() as stderr:
        files = Path(stdout.name), Path(stderr.name)
        process = _CONTEXT.Process(target=_redirected, args=(files, function, arguments))
        _start(process)
        multiprocessing.connection.wait([process.sentinel])
        return _exit_code(process), files[0].read_text(), files[1].read_text()


def _start(process: multiprocessing.process.BaseProcess) -> None:
    with _one_at_a_time:
        _start_fork_server()
        process.start()


def _exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    with _one_at_a_time:
        return process.exitcode


@cache
def _start_fork_server() -> None:
    """Start it once, or take the one that another process shares."""
    server = forkserver._forkserver
    if address := os.environ.get(_SHARED):
        server._forkserver_address = address
        server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # it lives as long as the process that began it
        server.ensure_running = lambda: None
        return
    _CONTEXT.set_forkserver_preload(["prestarted_imports"])
    # Python passes it no module path of ours, hence the variable.
    folders = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(folders)):
        forkserver.ensure_running()


def share_fork_server() -> None:
    """Start it for this process and all processes that this one starts from now on.

    Their connections would need a key from Python 3.14 on: there, each process starts its own.
    """
    if sys.version_info < (3, 14):
        _start_fork_server()
        os.environ[_SHARED] = forkserver._forkserver._forkserver_address


def _run(
    arguments: list[str], stdout: Path, stderr: Path, stdin: Path | None, environment: dict[str, str], folder: Path
) -> None:
    from hangtag.cli.main import main

    _redirect(stdout, stderr)
    if stdin is not None:
        with stdin.open("rb") as file:
            os.dup2(file.fileno(), 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - multiprocessing has closed it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["hangtag", *arguments]
    multiprocessing.current_process()._config["daemon"] = False  # it may have child processes
    os.environ[_SHARED] = forkserver._forkserver._forkserver_address  # which made this process, too
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    if arguments[:1] in (["export"], ["publish"]):
        verification.start_process = PrestartedVerification
    sys.exit(main())


def _end_with_the_tests() -> None:
    """After Ctrl-C or a crash of the tests, no server stays."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _redirect(stdout: Path, stderr: Path) -> None:
    """The streams are new, too: the old ones know whether their file can seek, and the new file may be a pipe."""
    for number, path in ((1, stdout), (2, stderr)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    sys.stdout = open(1, "w", buffering=1, encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", encoding="utf-8", closefd=False)  # noqa: SIM115


def _redirected(files: tuple[Path, Path], function: Callable[..., None], arguments: Sequence[object]) -> None:
    _redirect(*files)
    function(*arguments)


def _run_code(code: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - what `python -c` does


def _verify(task: str) -> None:
    sys.stdin = io.StringIO(task)
    verification.main()
