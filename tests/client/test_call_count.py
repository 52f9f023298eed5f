"""One image passes through few functions, and `images[0]` through the same as `images[:1]`."""

from __future__ import annotations

import importlib.util

import pytest

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import Client
from sample_images import PICTURES
from support import ROOT


@pytest.fixture(scope="module")
def calls_of():
    """The function that counts, of benchmarks/calls.py."""
    spec = importlib.util.spec_from_file_location("calls", ROOT / "benchmarks" / "calls.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.calls_of


def test_one_image_takes_at_most_twenty_calls(calls_of, protocol):
    """Once the client knows the model. A reader can follow one image from `classify` to its label."""
    images = PICTURES[:1] + 200  # no blanks: over REST as pixel_json writes it
    with model_server(Model(FIRST_PIXEL), protocol) as target, Client(target, timeout=60) as client:
        client.classify(images)
        client.classify(images)
        for _ in range(20):  # a response that arrives in two packets takes one call more
            batch = calls_of(lambda: client.classify(images))
            single = calls_of(lambda: client.classify(images[0]))
            if len(batch) <= 20 and single == batch:
                break
    assert len(batch) <= 20, batch
    assert single == batch
