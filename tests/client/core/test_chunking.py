"""Items of any size, one after another: what a request contains, and when results are returned."""

from __future__ import annotations

import time

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import Client, InvalidInput
from hangtag.core import streaming
from sample_images import PICTURES


@pytest.mark.parametrize(
    ("sizes", "requests"),
    [
        ([3] * 10, [10, 10, 10]),
        ([3, 0, 2], [5]),
        ([0, 0], []),
        ([7, 7, 7, 7, 2], [10, 10, 10]),
        ([1, 25, 1], [1, 1, 5, 10, 10]),  # a large item is not copied together with others
    ],
)
def test_items_share_requests_that_are_full(kind, sizes, requests):
    """Cut anywhere, each item gets the answers to its own images."""
    seen, plain = [], FIRST_PIXEL["serving_default"]

    def counted(images):
        seen.append(len(images))
        return plain.run(images)

    model = Model({**FIRST_PIXEL, "serving_default": Signature(plain.inputs, plain.outputs, counted)})
    items = np.split(PICTURES[: sum(sizes)], np.cumsum(sizes)[:-1])
    with model_server(model, "grpc") as target, opened(kind, target, batch_size=10) as client:
        parts = list(client.classify_stream(items))
    assert sorted(seen) == requests
    assert [part.indices.tolist() for part in parts] == [(item[:, 0, 0] % 10).tolist() for item in items]


def test_a_stream_decides_on_floats_by_its_first_item(pixel_model):
    unit = PICTURES / 255.0
    assert [part.indices.tolist() for part in pixel_model.classify_stream([unit[:2], unit[3]])] == [[0, 1], [3]]
    with pytest.raises(
        InvalidInput, match=r"item 1 of the stream: pixels run from 7 to 7, but the stream started with floats"
    ):
        list(pixel_model.classify_stream([unit[5], PICTURES[7].astype(float)]))
    with pytest.raises(InvalidInput, match=r"item 1 of the stream: float pixels run to 0.0\d+ and are not whole"):
        list(pixel_model.classify_stream([PICTURES[7].astype(float), unit[5]]))
    black_first = [PICTURES[7].astype(float), PICTURES[0].astype(float)]  # black is 0 in both
    assert [part.indices.tolist() for part in pixel_model.classify_stream(black_first)] == [[7], [0]]


def test_a_stream_reads_little_more_from_its_source_than_it_has_answered():
    """In bounded memory: with four calls under way, the source is never far ahead of the results."""
    given, ahead = [0], []

    def source():
        for _ in range(200):
            given[0] += 1
            yield PICTURES[:10]

    with model_server(Model(FIRST_PIXEL), "grpc") as target, Client(target, batch_size=20) as client:
        for received, _ in enumerate(client.classify_stream(source())):
            ahead.append(given[0] - received)
    assert received == 199
    assert max(ahead) <= 2 * (2 * 4 + 2 * 4)


def test_a_slow_source_gets_each_result_before_the_next_item_is_asked_for(kind, monkeypatch):
    """Nothing is gathered while a caller waits for it."""
    monkeypatch.setattr(streaming, "LINGER", 0.02)
    seen, answered = [], []

    def source():
        for number in range(4):
            seen.append((number, len(answered)))
            time.sleep(0.05)
            yield PICTURES[number]

    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, target) as client:
        for result in client.classify_stream(source()):
            answered.append(result[0].label)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert answered == [f"class {n}" for n in range(4)]


def test_leaving_a_stream_early_leaves_nothing_running(kind):
    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, target) as client:
        stream = client.classify_stream(PICTURES)
        assert next(stream).labels.tolist() == ["class 0"]
        stream.close()
        assert client.classify(PICTURES[3]).labels.tolist() == ["class 3"]
