"""Fixtures that are dear, made once a session: the data, one published version, one server."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hangtag import Client
from hangtag_export.data.dataset import Dataset
from hangtag_export.data.fashion_mnist import load_fashion_mnist
from support import ROOT, Server, run, serving

# A script that starts the tests in the background (`… &`) makes them ignore Ctrl-C, and every program that they start
# too. If a handler of any kind is set, those programs get the default instead.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The real Fashion-MNIST."""
    return load_fashion_mnist()


@pytest.fixture(scope="session")
def images(dataset: Dataset) -> np.ndarray:
    """The 10,000 test images, uint8 [N, 28, 28]."""
    return dataset.test_images


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with one version, by the README's command, of one epoch; its Keras model is next to it."""
    folder = tmp_path_factory.mktemp("exported") / "models"
    command = re.search(r"^hangtag (export .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    done = run(*shlex.split(command), "--epochs=1", f"--keras={folder / 'model.keras'}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder / "fashion"


@pytest.fixture(scope="session")
def two_versions(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with that version and another, by the command of docs/deploy.md, again of one epoch."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(exported / "1", folder / "models" / "fashion" / "1")
    command = re.search(r"^hangtag (export .*)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)[1]
    command = command.replace("$model", "fashion")
    done = run(*shlex.split(command), "--epochs=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "models" / "fashion"


@pytest.fixture(scope="session")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`hangtag serve` over `exported`, as a process of its own."""
    with serving(exported, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    """A client of `server`, once over each protocol."""
    with Client(server.target(request.param), timeout=60) as opened:
        yield opened
