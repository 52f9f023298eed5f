"""One model server with two versions, and one playground on top of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from playgrounds import Playground, playground, two_version_server
from support import Server


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with two_version_server(tmp_path_factory.mktemp("models")) as server:
        yield server


@pytest.fixture(scope="package")
def page(models: Server) -> Iterator[Playground]:
    with playground("--target", models.grpc, "--target", models.rest) as running:
        yield running
