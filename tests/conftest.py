"""Costly fixtures, made once a session: the data, one published version, one server."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import xdist

import hangtag.async_client  # noqa: F401 - both clients take their signatures from Options before it is changed below
import hangtag_program
import prestarted
from hangtag import Client
from hangtag.config.options import Options
from hangtag.optional import import_for_commands, require
from hangtag_export.data.dataset import Dataset
from hangtag_export.data.fashion_mnist import load_fashion_mnist
from support import ROOT, Server, run, serving

# A script that starts the tests in the background (`… &`) makes them ignore Ctrl-C, and every program that they start
# too. If a handler of any kind is set, those programs get the default instead.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a machine under load nothing is too slow: neither an example of hypothesis, nor a call whose test gives no timeout.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("patient")
Options.__init__.__kwdefaults__["timeout"] = 60.0

SLOWEST_FIRST = [
    *("system", "export", "deploy", "adversarial", "serving"),
    *("client/test_ray_data.py", "client/transports/test_faults.py", "client/transports/test_deadlines.py", "client"),
]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let all test processes start their commands from one process that has imported TensorFlow."""
    if xdist.is_xdist_controller(session):
        prestarted.share_fork_server()


def pytest_collection(session: pytest.Session) -> None:
    """Import TensorFlow as the commands do: without Keras, in half the time, before test modules import all of it.

    Those of the client import none (oracle.py).
    """
    if not xdist.is_xdist_controller(session):
        import_for_commands()
        if not all("client" in Path(argument).parts for argument in session.config.args):
            require("tensorflow", extra="export", what="the tests")


def pytest_collection_finish() -> None:
    """What was imported is not searched for garbage."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first: no test process works on it alone at the end."""
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: min(places.get(path, len(places)) for path in (item.path, *item.path.parents)))


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The real Fashion-MNIST."""
    return load_fashion_mnist()


@pytest.fixture(scope="session")
def images(dataset: Dataset) -> np.ndarray:
    """The 10,000 test images, uint8 [N, 28, 28]."""
    return dataset.test_images


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of that name, filled by the first of the parallel test processes that needs it."""
    common = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder, done = common / name, common / f"{name}.done"
    with (common / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with one version, by the README's command, of one epoch; its Keras model is next to it."""

    def export(folder: Path) -> None:
        command = re.search(r"^hangtag (export .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
        done = run(*shlex.split(command), "--epochs=1", f"--keras={folder / 'models' / 'model.keras'}", cwd=folder)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "exported", export) / "models" / "fashion"


@pytest.fixture(scope="session")
def two_versions(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with that version and another, by the command of docs/deploy.md, again of one epoch."""

    def export(folder: Path) -> None:
        shutil.copytree(exported / "1", folder / "models" / "fashion" / "1")
        command = re.search(r"^hangtag (export .*)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)[1]
        done = run(*shlex.split(command.replace("$model", "fashion")), "--epochs=1", cwd=folder)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "two", export) / "models" / "fashion"


@pytest.fixture(scope="session")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`hangtag serve` over `exported`, as a process of its own."""
    with serving(exported, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _programs_on_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PATH has the environment's programs, and before them a `hangtag` that starts at once."""
    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch, hangtag_program.answering_in(folder):
        patch.setenv("PATH", os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    """A client of `server`, once over each protocol."""
    with Client(server.target(request.param), timeout=60) as opened:
        yield opened
