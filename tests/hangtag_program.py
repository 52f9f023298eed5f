"""The program `hangtag` for the shells and scripts of the tests: it starts at once, as `Prestarted` does."""

from __future__ import annotations

import json
import multiprocessing.connection
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prestarted import Prestarted

# It gives its arguments, folder, variables and files to the tests, passes on its signals, and ends as the command does.
_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys

SIGNALS = {{signal.SIGINT, signal.SIGTERM}}

def pass_on(number, frame):
    try:
        os.kill(command, number)
    except ProcessLookupError:
        pass  # it has ended

signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
with socket.socket(socket.AF_UNIX) as tests:
    tests.connect({address!r})
    with tests.makefile("rw") as lines:
        print(json.dumps([os.getpid(), sys.argv[1:], os.getcwd(), dict(os.environ)]), file=lines, flush=True)
        command = int(lines.readline())
        for number in SIGNALS:
            signal.signal(number, pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        code = int(lines.readline())
if code < 0:
    if -code in SIGNALS:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class _Call(socketserver.StreamRequestHandler):
    """Runs the command of one call of the program; if the program is killed, so is the command."""

    def handle(self) -> None:
        program, arguments, folder, environment = json.loads(self.rfile.readline())
        stdin, stdout, stderr = (Path(f"/proc/{program}/fd/{number}") for number in range(3))
        command = Prestarted(arguments, stdout, stderr, stdin=stdin, cwd=Path(folder), env=environment)
        self.wfile.write(b"%d\n" % command.pid)
        if self.connection in multiprocessing.connection.wait([self.connection, command.sentinel]):
            command.kill()
        else:
            self.wfile.write(b"%d\n" % command.wait())


class _Calls(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def answering_in(folder: Path) -> Iterator[None]:
    """Put the program into `folder`; it works until the block ends. Only where /proc has the files of a process."""
    if not Path("/proc/self/fd").exists():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="hangtag-") as short:  # addresses have at most 107 characters
        address = f"{short}/socket"
        program = folder / "hangtag"
        program.write_text(_PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
        with _Calls(address, _Call) as calls:
            threading.Thread(target=calls.serve_forever, daemon=True).start()
            try:
                yield
            finally:
                calls.shutdown()
