"""Servers with metrics on the recorded model, made once a session: with the fast paths, and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from serving_metrics import monitoring
from support import Server, serving

FASHION = Path(__file__).parents[1] / "conformance" / "models" / "fashion"

Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a server with these flags."""

    def started(*flags: str) -> AbstractContextManager[Server]:
        folder = tmp_path_factory.mktemp("server")
        return serving(FASHION, folder / "log", monitoring(folder), *flags)

    return started


@pytest.fixture(scope="session")
def native(start: Start) -> Iterator[Server]:
    """By the compiled gRPC server."""
    with start("--grpc_front=native") as server:
        yield server


@pytest.fixture(scope="session")
def grpcio(start: Start) -> Iterator[Server]:
    """By grpcio."""
    with start("--grpc_front=grpcio") as server:
        yield server


@pytest.fixture(scope="session")
def plain(start: Start) -> Iterator[Server]:
    """Without fast paths."""
    with start("--fast=off") as server:
        yield server
