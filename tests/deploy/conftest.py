"""What the tests of the edge share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edges import DIALECTS, OTHER, SPEC, TOKEN, Certificates
from hangtag import Client
from hangtag.model import Signature
from hangtag.protocol.request import Request


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
