"""A stream that breaks: the good results before that are returned first, as `map` would."""

from __future__ import annotations

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Refused, Signature, model_server
from hangtag import InvalidInput
from sample_images import PICTURES


def until_it_breaks(stream, kind=Exception):
    """The class numbers that a stream gives before it raises, and what it raises."""
    found = []

    def take() -> None:
        for result in stream:
            found.extend(result.indices.tolist())

    with pytest.raises(kind) as caught:
        take()
    return found, str(caught.value)


@pytest.mark.parametrize(("good", "batch_size"), [(2, 1000), (25, 10)], ids=["gathered", "under way"])
def test_the_items_before_a_bad_one_are_answered(kind, protocol, good, batch_size):
    expected = [number % 10 for number in range(good)]
    with (
        model_server(Model(FIRST_PIXEL), protocol) as target,
        opened(kind, target, batch_size=batch_size, timeout=60) as client,
    ):
        stream = client.classify_stream([*PICTURES[:good], None, PICTURES[0]])
        found, message = until_it_breaks(stream, InvalidInput)
    assert found == expected
    assert message.startswith(f"item {good} of the stream: cannot read images from NoneType")


def test_what_a_source_gave_before_it_broke_is_answered(kind, protocol):
    def source():
        yield from PICTURES[:25]
        raise OSError("the camera was unplugged")

    with model_server(Model(FIRST_PIXEL), protocol) as target, opened(kind, target, timeout=60) as client:
        found, message = until_it_breaks(client.classify_stream(source()), OSError)
    assert found == [number % 10 for number in range(25)]
    assert message == "the camera was unplugged"


@pytest.mark.parametrize("size", [1, 3], ids=["one image", "three images"])
def test_items_whose_requests_were_answered_come_before_the_error_of_another(kind, protocol, size):
    """All thirty images went together, ten a request; the item that is split over two requests is not returned."""
    plain = FIRST_PIXEL["serving_default"]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        if 25 in images[:, 0, 0]:
            raise Refused("INVALID_ARGUMENT", "no picture for me")
        return plain.run(images)

    model = Model({**FIRST_PIXEL, "serving_default": Signature(plain.inputs, plain.outputs, run)})
    with (
        model_server(model, protocol) as target,
        opened(kind, target, batch_size=10, timeout=60) as client,
    ):
        stream = client.classify_stream(np.split(PICTURES, 30 // size))
        found, message = until_it_breaks(stream, InvalidInput)
    assert found == [number % 10 for number in range(20 // size * size)]
    assert message.endswith("no picture for me (images 20 to 29)")
