"""Answers that are recognized by the bytes around their numbers are decoded as the full decoder would decode them."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag.model import ModelSpec
from hangtag.protocol import protobuf, response_layout, tensors
from hangtag.protocol.grpc_codec import model_spec, read_predict_response


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    monkeypatch.setattr(response_layout, "_layouts", {})


def answer(array: np.ndarray, *, name: str = "probabilities", version: int = 3, packed: bool = False) -> bytes:
    """A PredictResponse, the numbers as `tensor_content` or, as the C++ server sends them, in `float_val`."""
    tensor = tensors.encode(array)
    if packed:
        tensor = tensors.head(tensors.dtypes.of_array(array), array.shape) + protobuf.block(5, array.tobytes())
    entry = protobuf.block(1, protobuf.block(1, name.encode()) + protobuf.block(2, tensor))
    return entry + protobuf.block(2, model_spec(ModelSpec("fashion", version)))


@pytest.mark.parametrize("packed", [False, True])
def test_the_second_answer_of_a_size_is_recognized(packed):
    first, second = np.random.default_rng(0).random((2, 50, 10)).astype("f4")
    assert response_layout.recognize(answer(second, packed=packed)) is None
    read_predict_response(answer(first, packed=packed))
    found = response_layout.recognize(answer(second, packed=packed))
    assert found is not None
    assert found.version == 3
    assert (found.outputs["probabilities"] == second).all()
    for other in (answer(second, version=4), answer(second, name="probabilitiez"), answer(second.reshape(10, 50))):
        assert response_layout.recognize(other) is None


def test_a_flipped_bit_means_the_same_with_and_without_memory():
    body = answer(np.random.default_rng(0).random((3, 4)).astype("f4"))

    def meaning(mutant: bytes) -> object:
        try:
            outputs, version = read_predict_response(mutant)
        except protobuf.WireError as error:
            return str(error)
        return version, {name: (array.dtype, array.shape, array.tobytes()) for name, array in outputs.items()}

    for place in range(8 * len(body)):
        mutant = bytearray(body)
        mutant[place // 8] ^= 1 << place % 8
        response_layout._layouts.clear()
        fresh = meaning(bytes(mutant))
        response_layout._layouts.clear()
        read_predict_response(body)
        assert meaning(bytes(mutant)) == fresh, place


def test_what_is_no_view_of_the_answer_is_not_remembered():
    """Strings, empty arrays, bfloat16 (which is widened) and several outputs."""
    read_predict_response(answer(np.array([b"boot"], object)))
    read_predict_response(answer(np.empty((0, 10), "f4")))
    read_predict_response(answer(tensors.dtypes.to_bfloat16(np.ones(4, "f4"))))
    one = answer(np.ones(4, "f4"), name="a")
    read_predict_response(one + answer(np.ones(4, "f4"), name="b"))
    assert response_layout._layouts == {}
