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
from programs import program


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
    """A kubectl whose kustomize is current; skips the test where there is none."""
    found = shutil.which("kubectl")
    candidates = [Path(found)] if found else []
    for candidate in [*candidates, None]:
        path = candidate or program("kubernetes-client", "usr/bin/kubectl")
        done = subprocess.run([path, "kustomize", "--help"], capture_output=True, text=True, check=False)
        if "--enable-helm" in done.stdout:  # since kubectl 1.21; that of Debian 12 is 1.20
            return path
    pytest.skip("needs kubectl 1.21 or newer: older ones cannot build these files")


@pytest.fixture
def kubectl_on_path(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
