"""Version labels with weights: each call goes to one label, at random by weight or by its key."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import Client, InvalidInput, ModelNotFound
from hangtag.config.options import Options
from sample_images import PICTURES

LABELS = {"stable": 1, "canary": 2}
WEIGHTS = {"stable": 0.75, "canary": 0.25}


def labelled() -> Model:
    return Model(FIRST_PIXEL, labels=LABELS)


def test_each_call_goes_to_one_label_by_weight(kind, protocol):
    """All chunks of a call are answered by one version, and both versions get calls."""
    random.seed(1)  # of sixty calls more than half go to the heavier label, but for one time in 50,000
    model = labelled()
    with (
        model_server(model, protocol) as target,
        opened(kind, target, version_label=WEIGHTS, batch_size=10, timeout=60) as client,
    ):
        versions = Counter(client.classify(PICTURES).model_version for _ in range(60))
        assert {part.model_version for part in client.classify_stream(PICTURES, key="user-42")} <= {1, 2}
    assert versions.keys() == {1, 2}  # by chance only one of them: 0.75 ** 60, less than one in ten million
    assert versions[1] > versions[2]


def test_one_key_always_gets_the_same_label(kind, protocol):
    with model_server(labelled(), protocol) as target:
        found = []
        for _ in range(2):  # in another client too
            with opened(kind, target, version_label=WEIGHTS, timeout=60) as client:
                keys = [f"user-{number}" for number in range(40)]
                found += [[client.classify(PICTURES[:1], key=key).model_version for key in keys]]
    assert found[0] == found[1]
    assert set(found[0]) == {1, 2}


def test_keys_are_shared_out_by_weight_and_only_move_to_a_label_that_grows():
    def chosen(**weights: float) -> list[str]:
        options = Options("localhost", version_label=weights)
        return [options.choose(f"user-{number}").version_label for number in range(5000)]

    before, after = chosen(stable=0.95, canary=0.05), chosen(canary=0.2, stable=0.95)
    assert 150 < before.count("canary") < 350
    assert 700 < after.count("canary") < 1050
    assert all(new == "canary" for old, new in zip(before, after, strict=True) if old != new)


def test_a_label_of_weight_0_gets_no_calls():
    options = Options("localhost", version_label={"stable": 1, "canary": 0})
    assert {options.choose(None).version_label for _ in range(200)} == {"stable"}


def test_a_client_is_ready_when_every_label_has_a_version(kind, protocol):
    with model_server(Model(FIRST_PIXEL, labels={"stable": 1}), protocol) as target:
        with opened(kind, target, version_label={"stable": 1}) as client:
            assert client.ready()
        with opened(kind, target, version_label=WEIGHTS, retries=0) as client:
            assert not client.ready()
            with pytest.raises(ModelNotFound, match="canary"):
                [client.classify(PICTURES[:1], key=f"user-{number}") for number in range(50)]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "no weight above 0"),
        ({"stable": 0}, "no weight above 0"),
        ({"stable": -1}, "gives 'stable' the weight -1: give finite numbers, 0 or more"),
        ({"stable": float("nan")}, "the weight nan"),
        ({"stable": float("inf")}, "the weight inf"),
        ({"stable": "1"}, "the weight '1'"),
        ({"": 1}, "gives '' the weight 1"),
        ({1: 1}, "version_label is of type int: give strings as labels"),
        (["stable"], "version_label is of type list: give a string, or weights by label"),
    ],
)
def test_weights_that_cannot_be_right_are_refused(kind, weights, message):
    with pytest.raises(InvalidInput, match=message), opened(kind, "localhost:1", version_label=weights):
        pass
    with (
        pytest.raises(InvalidInput, match="version or version_label"),
        opened(kind, "x", version=1, version_label=WEIGHTS),
    ):
        pass


def test_a_key_is_a_string():
    with Client("localhost:1") as client, pytest.raises(InvalidInput, match="key is of type int: give a string"):
        client.classify(PICTURES, key=42)
