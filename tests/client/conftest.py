"""Each test that asks for `kind` and `protocol` runs four times: both clients, both protocols."""

from __future__ import annotations

import math

import pytest

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import Client
from hangtag.core import streaming


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["grpc", "rest"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _sources_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream takes no source for a slow one, and so sends full requests, however busy the machine is."""
    monkeypatch.setattr(streaming, "LINGER", math.inf)


@pytest.fixture(scope="module")
def pixel_model():
    """A client of a model that names the first pixel."""
    with model_server(Model(FIRST_PIXEL), "grpc") as target, Client(target) as client:
        yield client
