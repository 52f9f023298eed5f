"""What may be handed in, what is refused, and models that Hangtag did not make."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import InvalidInput
from sample_images import PICTURES, png

# ---- what is sent


def test_nothing_in_nothing_out(pixel_model):
    result = pixel_model.classify([])
    assert (len(result), result.probabilities.shape, result.labels.shape) == (0, (0, 10), (0,))
    assert list(pixel_model.classify_stream([])) == []


def test_progress_is_counted_in_images(kind, protocol):
    calls = []
    with model_server(Model(FIRST_PIXEL), protocol) as target, opened(kind, target, batch_size=8) as client:
        client.classify(PICTURES, progress=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [30] * 4
    assert calls[-1] == (30, 30)
    assert sorted(calls) == calls


# ---- files


def test_files_are_decoded_here_when_the_model_takes_only_arrays(pixel_model, tmp_path):
    """Converted to grey and resized to what the signature takes."""
    assert pixel_model.classify([png(picture) for picture in PICTURES[:5]]).indices.tolist() == [0, 1, 2, 3, 4]
    large = tmp_path / "large.png"
    Image.fromarray(np.full((100, 60, 3), 7, np.uint8)).save(large)
    assert pixel_model.classify(large).indices.tolist() == [7]
    with pytest.raises(InvalidInput, match="image 0 cannot be decoded"):
        pixel_model.classify(b"\x89PNG\r\n\x1a\n and no more")


# ---- predict


def echo(dtype: str) -> Signature:
    return Signature({"x": (dtype, [-1])}, {"y": (dtype, [-1])}, lambda x: {"y": x})


def test_predict_carries_every_dtype(kind):
    signatures = {
        name: echo(name) for name in ("DT_HALF", "DT_DOUBLE", "DT_INT8", "DT_UINT64", "DT_COMPLEX64", "DT_BOOL")
    }
    signatures["DT_STRING"] = echo("DT_STRING")
    with model_server(Model(signatures), "grpc") as target, opened(kind, target) as client:

        def sent(name: str, value: object) -> list:
            return client.predict({"x": value}, signature=name)["y"].tolist()

        assert sent("DT_HALF", [0.5, 1]) == [0.5, 1]
        assert sent("DT_DOUBLE", np.array([1, 2], "f4")) == [1, 2]
        assert sent("DT_INT8", [-1, 2]) == [-1, 2]
        assert sent("DT_UINT64", [2**64 - 1]) == [2**64 - 1]
        assert sent("DT_COMPLEX64", np.array([1j], "c8")) == [1j]
        assert sent("DT_BOOL", [True, False]) == [True, False]
        assert sent("DT_STRING", ["短靴", b"\xff"]) == ["短靴".encode(), b"\xff"]
        for name, value in {
            "DT_INT8": [300],
            "DT_HALF": np.array([1e6]),
            "DT_DOUBLE": ["a"],
            "DT_STRING": [1],
            "DT_BOOL": [2],
        }.items():
            with pytest.raises(InvalidInput, match=r"input 'x' takes .* but got"):
                sent(name, value)
        with pytest.raises(InvalidInput, match=r"got shape \[1, 2\]"):
            sent("DT_DOUBLE", [[1.0, 2.0]])
        with pytest.raises(InvalidInput, match="has no input 'z'; it takes x"):
            client.predict({"z": [1]}, signature="DT_HALF")
        with pytest.raises(InvalidInput, match="also needs x"):
            client.predict({}, signature="DT_HALF")


def test_predict_with_several_inputs_and_outputs(kind, protocol):
    both = Signature(
        {"a": ("DT_FLOAT", [-1]), "b": ("DT_FLOAT", [-1])},
        {"product": ("DT_FLOAT", [-1]), "sum": ("DT_FLOAT", [-1])},
        lambda a, b: {"product": a * b, "sum": a + b},
    )
    with model_server(Model({"serving_default": both}), protocol) as target, opened(kind, target) as client:
        found = client.predict({"a": [1, 2], "b": [3, 4]})
        assert (found["product"].tolist(), found["sum"].tolist()) == ([3, 8], [4, 6])
        with pytest.raises(InvalidInput, match="takes 2 inputs"):
            client.classify(PICTURES)


def test_outputs_of_different_batch_sizes_and_empty_ones(kind, protocol):
    """Detections: as many boxes as were found, perhaps none, for any number of images."""
    detect = Signature(
        {"x": ("DT_FLOAT", [-1, 2])},
        {"boxes": ("DT_FLOAT", [-1, 4]), "names": ("DT_STRING", [-1]), "sums": ("DT_FLOAT", [-1])},
        lambda x: {
            "boxes": np.zeros((0, 4), "f4"),
            "names": np.array([b"a", b"b", b"c"], object),
            "sums": x.sum(axis=1),
        },
    )
    empty = Signature({"x": ("DT_FLOAT", [-1, 2])}, {"y": ("DT_FLOAT", [-1, 0])}, lambda x: {"y": x[:, :0]})
    model = Model({"serving_default": detect, "empty": empty})
    with model_server(model, protocol) as target, opened(kind, target) as client:
        found = client.predict({"x": [[1, 2], [3, 4]]})
        assert {name: array.shape for name, array in found.items()} == {"boxes": (0, 4), "names": (3,), "sums": (2,)}
        assert found["sums"].tolist() == [3, 7]
        assert client.predict({"x": [[1, 2], [3, 4]]}, signature="empty")["y"].shape == (2, 0)


def test_outputs_that_rest_does_not_carry_are_named_before_anything_is_sent(kind):
    half = Signature({"x": ("DT_FLOAT", [-1])}, {"y": ("DT_HALF", [-1])}, lambda x: {"y": x.astype("f2")})
    model = Model({"serving_default": half})
    with model_server(model, "rest") as target, opened(kind, target) as client:
        refused = r"output y is half, which REST does not support: use gRPC, or cast it in the model"
        with pytest.raises(InvalidInput, match=refused):
            client.predict({"x": [1.0]})
    assert model.predicts == 0
