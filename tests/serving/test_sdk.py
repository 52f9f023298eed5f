"""The client against a server on the recorded models: the embedded one, or the one that HANGTAG_CONFORMANCE names.

HANGTAG_CONFORMANCE=HOST:8500,8501 names a server of yours; `make conformance SERVER=…` sets it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pytest

from hangtag import Client, InvalidInput, ModelNotFound, UnknownSignature
from support import eventually

NAMED = os.environ.get("HANGTAG_CONFORMANCE", "")
NUMBERS = ["float32", "float64", "int32", "int64", "uint8", "int8", "int16", "uint32", "uint64"]
OVER_GRPC_ONLY = ["uint16", "float16"]  # JSON cannot carry them


class Target(NamedTuple):
    grpc: str
    rest: str


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest) -> Target:
    if not NAMED:
        server = request.getfixturevalue("recorded")
        return Target(server.grpc, server.rest)
    grpc, _, rest = NAMED.partition(",")
    return Target(grpc, rest if "://" in rest else f"http://{grpc.rpartition(':')[0]}:{rest}")


@pytest.fixture(params=["grpc", "rest"])
def address(request: pytest.FixtureRequest, target: Target) -> str:
    return getattr(target, request.param)


def test_the_newest_served_version_classifies(address):
    """Version 3 is on disk but not served."""
    with Client(address, model="fashion") as client:
        expected = {2: "AVAILABLE", 1: "AVAILABLE"}
        eventually(lambda: {entry.version: entry.state for entry in client.status()} == expected, "both versions")
        result = client.classify(np.zeros((3, 28, 28), np.uint8))
    assert len(result) == 3
    assert result.model_version == 2


@pytest.mark.parametrize(("version", "label"), [(1, "stable"), (2, "canary")])
def test_a_label_answers_as_its_version(address, version, label):
    images = np.full((2, 28, 28), 7, np.uint8)
    probabilities = []
    for chosen in ({"version": version}, {"version_label": label}):
        with Client(address, model="fashion", **chosen) as client:
            probabilities.append(client.classify(images).probabilities)
    np.testing.assert_allclose(*probabilities, rtol=1e-5)


@pytest.mark.parametrize("name", NUMBERS + OVER_GRPC_ONLY)
def test_numbers_of_every_type_come_back_unchanged(address, target, name):
    if name in OVER_GRPC_ONLY and address != target.grpc:
        pytest.skip("JSON cannot carry this type")
    sent = np.array([[0, 1], [100, 3]], name)
    with Client(address, model="types") as client:
        outputs = client.predict({"x": sent}, signature=name)
    np.testing.assert_array_equal(outputs["y"], sent)
    assert outputs["y"].dtype == sent.dtype


def test_strings_come_back_unchanged(address):
    sent = np.array([b"", b"a", "ä".encode(), b"\xff\x00"], object)
    with Client(address, model="types") as client:
        outputs = client.predict({"x": sent}, signature="raw")
    assert outputs["y_bytes"].tolist() == sent.tolist()


def test_two_inputs_and_two_outputs(address):
    a, b = np.array([1, 2], np.float32), np.array([3, 5], np.float32)
    with Client(address, model="types") as client:
        outputs = client.predict({"a": a, "b": b}, signature="two")
    assert {name: array.tolist() for name, array in outputs.items()} == {"sum": [4, 7], "product": [3, 10]}


def test_failures_have_their_types(address):
    image = np.zeros((1, 28, 28), np.uint8)
    for model, choice in (("nope", {}), ("fashion", {"version": 3})):
        with Client(address, model=model, retries=0, **choice) as client, pytest.raises(ModelNotFound):
            client.classify(image)
    with Client(address, model="fashion") as client:
        with pytest.raises(UnknownSignature):
            client.predict({"images": image}, signature="nope")
        with pytest.raises(InvalidInput):
            client.classify(np.zeros((1, 3), np.uint8))
