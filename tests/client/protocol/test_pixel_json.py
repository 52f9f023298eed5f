"""uint8 images as JSON: the text has the values of the array, and is short."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag.model import ModelSpec, Signature, TensorSpec
from hangtag.protocol import pixel_json, rest_codec

SIGNATURE = Signature({"images": TensorSpec("", "DT_UINT8", None)}, {"probabilities": TensorSpec("", "DT_FLOAT", None)})


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(0, 99))
def test_any_shape_reads_back_as_it_was(shape, seed):
    array = random_images(*shape, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_json, "_MOST_BLANK", 100)
        text = pixel_json.pixel_text(array, b'{"x":', b"}")
    assert json.loads(text) == {"x": array.tolist()}


def test_more_than_one_block_reads_back_too():
    array = random_images(64, 28, 28)[::-1, :, ::-1]
    assert array.size > pixel_json._BLOCK
    assert json.loads(pixel_json.pixel_text(array)) == array.tolist()


@pytest.mark.parametrize("kind", ["dense", "black", "colour", "one row"])
def test_a_request_is_at_most_half_longer_than_the_json_library_makes_it(kind):
    array = random_images(*((9, 5, 3) if kind == "colour" else (9, 28, 28)))
    array = {"black": array // 128, "one row": array[0, 0]}.get(kind, array)
    exchange = rest_codec.predict(ModelSpec("fashion", signature="serving_default"), {"images": array}, SIGNATURE)
    document = {"signature_name": "serving_default", "instances": array.tolist()}
    assert json.loads(exchange.body) == document
    assert len(exchange.body) <= 1.5 * len(orjson.dumps(document)) + 64
