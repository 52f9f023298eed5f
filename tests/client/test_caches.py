"""Each cache of the client is used: a second call works without what the first one had to do."""

from __future__ import annotations

import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag.core import class_scores, session
from hangtag.protocol import grpc_codec
from sample_images import PICTURES


def not_again(*_: object, **__: object) -> None:
    raise AssertionError("done a second time")


@pytest.mark.parametrize("images", [PICTURES[:2], PICTURES[0]], ids=["batch", "one image"])
def test_images_of_a_shape_are_planned_once(kind, protocol, images, monkeypatch):
    with model_server(Model(FIRST_PIXEL), protocol) as target, opened(kind, target, timeout=60) as client:
        client.classify(PICTURES[2:5])
        monkeypatch.setattr(session, "plan_classify", not_again)
        assert client.classify(images).labels[0] == "class 0"


def test_the_class_names_of_a_version_are_asked_for_and_translated_once(kind, protocol, monkeypatch):
    model = Model(FIRST_PIXEL)
    with model_server(model, protocol) as target, opened(kind, target, timeout=60) as client:
        client.classify(PICTURES[:3])
        monkeypatch.setattr(class_scores, "translate", not_again)
        assert client.classify(PICTURES[:3]).labels.tolist() == ["class 0", "class 1", "class 2"]
    assert model.predicts == 3  # two calls, and the names


def test_the_layout_of_a_response_is_decoded_once(kind, monkeypatch):
    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, target, timeout=60) as client:
        client.classify(PICTURES[:3])
        monkeypatch.setattr(grpc_codec.response_layout, "remember", not_again)
        found = client.classify(PICTURES[3:6])
    assert found.labels.tolist() == ["class 3", "class 4", "class 5"]
