"""A new version while a client is at work: its metadata is read before its answers are used."""

from __future__ import annotations

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import InvalidInput
from sample_images import PICTURES

DEFAULT = FIRST_PIXEL["serving_default"]
WIDE = {
    **FIRST_PIXEL,
    "serving_default": Signature({"images": ("DT_UINT8", [-1, 14, 56])}, DEFAULT.outputs, DEFAULT.run),
}
LOGITS = {
    **FIRST_PIXEL,
    "serving_default": Signature(
        DEFAULT.inputs,
        {"logits": ("DT_FLOAT", [-1, 10])},
        lambda images: {"logits": 9 * DEFAULT.run(images)["probabilities"]},
    ),
}


def changing(signatures: dict, at: int) -> Model:
    """Version 1 until the Predict of number `at`, which version 2 answers, with these signatures."""
    return Model(FIRST_PIXEL, version=lambda number: 1 if number < at else 2, versions={2: signatures})


CALLS = {
    "one request": lambda client: [client.classify(PICTURES[:10])],
    "several requests": lambda client: [client.classify(PICTURES)],
    "stream": lambda client: list(client.classify_stream(PICTURES)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_images_that_a_new_version_does_not_take_are_refused_though_it_answered(kind, call):
    """A model that starts with Flatten answers 28 x 28 as if it were 14 x 56."""
    with (
        model_server(changing(WIDE, 3), "grpc") as target,
        opened(kind, target, batch_size=10, timeout=60) as client,
    ):
        assert client.classify(PICTURES[:10]).model_version == 1  # asks for the names, too
        assert client.classify(PICTURES[:10]).model_version == 1
        with pytest.raises(InvalidInput, match=r"images of shape .*28, 28\): fashion takes \[N, 14, 56\]"):
            call(client)
        assert client.classify(PICTURES.reshape(30, 14, 56)).model_version == 2


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_new_version_that_answers_otherwise_is_asked_again(kind, call):
    with (
        model_server(changing(LOGITS, 3), "grpc") as target,
        opened(kind, target, batch_size=10, timeout=60) as client,
    ):
        assert client.classify(PICTURES[:10]).model_version == 1
        assert client.classify(PICTURES[:10]).model_version == 1
        results = call(client)
    found = np.concatenate([result.indices for result in results])
    assert {result.model_version for result in results} == {2}
    assert found.tolist() == [number % 10 for number in range(len(found))]


def test_a_version_that_takes_the_same_is_not_asked_twice(kind):
    model = changing(FIRST_PIXEL, 2)
    with model_server(model, "grpc") as target, opened(kind, target) as client:
        assert [client.classify(PICTURES).model_version for _ in range(3)] == [1, 2, 2]
        assert model.predicts == 3 + 2  # and the names of each version


def test_replicas_of_two_versions_are_each_held_against_their_own_signature(kind):
    """What one version took once is no word on what was planned for the other."""
    version = [1]
    model = Model(FIRST_PIXEL, version=lambda number: version[0], versions={2: WIDE})
    with model_server(model, "grpc") as target, opened(kind, target) as client:
        assert client.classify(PICTURES).model_version == 1
        version[0] = 2
        with pytest.raises(InvalidInput, match=r"takes \[N, 14, 56\]"):
            client.classify(PICTURES)
        assert client.classify(PICTURES.reshape(30, 14, 56)).model_version == 2
        version[0] = 1
        with pytest.raises(InvalidInput, match=r"takes \[N, 28, 28\]"):
            client.classify(PICTURES.reshape(30, 14, 56))
        assert client.classify(PICTURES).model_version == 1
        version[0] = 2
        with pytest.raises(InvalidInput, match=r"takes \[N, 14, 56\]"):
            client.classify(PICTURES)


def test_predict_is_checked_against_the_version_that_answered(kind):
    with model_server(changing(WIDE, 1), "grpc") as target, opened(kind, target) as client:
        assert client.predict({"images": PICTURES})["probabilities"].shape == (30, 10)
        with pytest.raises(InvalidInput, match=r"input 'images' takes uint8 \[\?, 14, 56\] but got shape"):
            client.predict({"images": PICTURES})


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_version_that_is_unloaded_during_a_call_is_replaced_for_all_of_it(kind, protocol, call):
    """A new version has the other digits: no result mixes them, and none is an error."""
    shifted = {
        **FIRST_PIXEL,
        "serving_default": Signature(DEFAULT.inputs, DEFAULT.outputs, lambda images: DEFAULT.run(images + 1)),
    }

    def hook(number: int) -> None:
        if number >= 4:  # after the names, and in the middle of the call
            model.unloaded.add(1)

    model = Model(FIRST_PIXEL, version=lambda number: 1 if number < 4 else 2, versions={2: shifted}, hook=hook)
    with model_server(model, protocol) as target, opened(kind, target, batch_size=10, timeout=60) as client:
        client.labels()
        assert client.classify(PICTURES[:10]).model_version == 1
        results = call(client) + call(client) + call(client)
    assert results[-1].model_version == 2
    first = 0
    for result in results:
        shift = result.model_version - 1
        expected = [(first + place + shift) % 10 for place in range(len(result))]
        assert result.indices.tolist() == expected
        first = (first + len(result)) % (30 if len(results) > 3 else len(result))


CALLS_OF_ONE_REQUEST = {
    "classify": lambda client: client.classify(PICTURES[:10]).probabilities,
    "stream": lambda client: next(iter(client.classify_stream([PICTURES[:10]]))).probabilities,
    "predict": lambda client: client.predict({"images": PICTURES[:10]})["probabilities"],
}


@pytest.mark.parametrize("call", CALLS_OF_ONE_REQUEST.values(), ids=CALLS_OF_ONE_REQUEST)
@pytest.mark.parametrize("first", [0, 1], ids=["names unknown", "names known"])
def test_a_version_that_is_unloaded_after_it_has_answered_is_replaced(kind, call, first):
    """Before the client has read its metadata or its class names."""

    def hook(number: int) -> None:
        if number >= at:
            model.unloaded.update((1, 2))

    at = 2 * first  # the request and the names
    model = Model(FIRST_PIXEL, version=lambda number: 1 if number < at else 2 if number == at else 3, hook=hook)
    with model_server(model, "grpc") as target, opened(kind, target, timeout=60) as client:
        if first:
            assert client.classify(PICTURES[:10]).model_version == 1
        assert call(client).argmax(axis=1).tolist() == list(range(10))


def test_over_rest_all_chunks_go_to_the_version_of_the_metadata(kind):
    model = Model(FIRST_PIXEL, version=lambda number: 1 if number < 3 else 2)
    with model_server(model, "rest") as target, opened(kind, target, batch_size=10, timeout=60) as client:
        client.labels()
        result = client.classify(PICTURES)
    assert result.model_version == 1  # which is still served, though version 2 is the newest now
    paths = [request["path"] for request in model.requests if request["path"].endswith(":predict")]
    assert set(paths) == {"/v1/models/fashion/versions/1:predict"}
