"""What may be handed in, what is refused, and models that Hangtag did not make."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from doubles import FIRST_PIXEL, Model, Signature, model_server
from hangtag import Client, InvalidInput, UnknownSignature
from hangtag.photo import prepare_photo
from surfaces import opened

PICTURES = np.arange(30, dtype=np.uint8).repeat(784).reshape(30, 28, 28)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# ---- what is sent


@pytest.fixture(scope="module")
def pixel_model():
    with model_server(Model(FIRST_PIXEL), "grpc") as target, Client(target) as client:
        yield client


def test_nothing_in_nothing_out(pixel_model):
    result = pixel_model.classify([])
    assert (len(result), result.probabilities.shape, result.labels.shape) == (0, (0, 10), (0,))
    assert list(pixel_model.classify_stream([])) == []


def test_progress_is_told_in_images(kind, protocol):
    calls = []
    with model_server(Model(FIRST_PIXEL), protocol) as target, opened(kind, target, batch_size=8) as client:
        client.classify(PICTURES, progress=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [30] * 4
    assert calls[-1] == (30, 30)
    assert sorted(calls) == calls


# ---- files


def test_files_are_decoded_here_when_the_model_takes_only_arrays(pixel_model, tmp_path):
    """Greyed and resized to what the signature asks for."""
    assert pixel_model.classify([png(picture) for picture in PICTURES[:5]]).indices.tolist() == [0, 1, 2, 3, 4]
    large = tmp_path / "large.png"
    Image.fromarray(np.full((100, 60, 3), 7, np.uint8)).save(large)
    assert pixel_model.classify(large).indices.tolist() == [7]
    with pytest.raises(InvalidInput, match="image 0 cannot be decoded"):
        pixel_model.classify(b"\x89PNG\r\n\x1a\n and no more")


def test_a_photograph_becomes_what_fashion_mnist_looks_like(tmp_path):
    """Trimmed, its longest edge 28 pixels, in the centre, light on dark and grey."""
    photo = Image.new("RGB", (300, 400), "white")
    ImageDraw.Draw(photo).rectangle((100, 50, 159, 289), fill=(200, 30, 30))
    picture = prepare_photo(photo)
    assert (picture.shape, picture.dtype) == ((28, 28), np.uint8)
    rows, columns = np.flatnonzero(picture.max(axis=1) > 64), np.flatnonzero(picture.max(axis=0) > 64)
    assert (rows[0], rows[-1]) == (0, 27)  # 240 pixels, the longest edge, are 28 now
    assert len(columns) == 7  # and 60 are 7
    assert columns[0] == (28 - 7) // 2
    assert picture[:, 0].max() == 0
    assert picture[14, 14] > 128
    file = tmp_path / "photo.jpg"
    photo.save(file, quality=95)
    for form in (str(file), file, file.read_bytes(), np.asarray(photo)):
        assert np.abs(prepare_photo(form).astype(int) - picture).mean() < 8  # JPEG blurs the edges
    see_through = photo.convert("RGBA")
    see_through.putalpha(Image.fromarray((np.asarray(photo)[..., 1] < 128).astype(np.uint8) * 255))
    assert (prepare_photo(see_through) == picture).all()
    with pytest.raises(InvalidInput, match="cannot read the photograph"):
        prepare_photo(b"no image")


def test_prepare_photo_in_both_clients(kind):
    photo = Image.new("RGB", (50, 50), "white")
    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, target) as client:
        assert client.classify([photo, photo], prepare="photo").indices.tolist() == [0, 0]
        assert [len(part) for part in client.classify_stream([photo], prepare="photo")] == [1]
        with pytest.raises(InvalidInput, match="'photo' is the only preparation"):
            client.classify(photo, prepare="drawing")


def test_photographs_go_through_the_real_model(server, images):
    """Fashion-MNIST's own pictures, blown up and negated as a shop would show them, keep their class."""
    with Client(server.grpc, timeout=60) as client:
        expected = client.classify(images[:50]).indices
        photos = [Image.fromarray(255 - picture).resize((280, 280)) for picture in images[:50]]
        found = client.classify(photos, prepare="photo").indices
    assert (found == expected).mean() > 0.5


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
            "DT_HALF": np.array([1.0]),
            "DT_DOUBLE": ["a"],
            "DT_STRING": [1],
            "DT_BOOL": [2],
        }.items():
            with pytest.raises(InvalidInput, match=r"input 'x' takes .* and was given"):
                sent(name, value)
        with pytest.raises(InvalidInput, match=r"was given shape \[1, 2\]"):
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


# ---- models that Hangtag did not make


def float_model(outputs: dict, run) -> Model:
    return Model(
        {"serving_default": Signature({"keras_tensor_4": ("DT_FLOAT", [-1, 28, 28])}, outputs, run)}, name="other"
    )


UNIT = (PICTURES[:3] / 255).astype("f4")
LOGITS = np.array([[3.0, 1.0, -2.0], [0.0, 5.0, 0.0], [0.2, 0.3, 0.9]], "f4")


def test_a_keras_model_that_answers_logits(kind, protocol):
    """Without names the classes are their indices; a row that looks like probabilities is a logit like its siblings."""
    model = float_model(
        {"output_0": ("DT_FLOAT", [-1, 3])}, lambda keras_tensor_4: {"output_0": LOGITS[: len(keras_tensor_4)]}
    )
    with model_server(model, protocol) as target, opened(kind, target, model="other") as client:
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["0", "1", "2"]
        assert np.allclose(result.probabilities.sum(axis=1), 1)
        assert np.allclose(result.probabilities[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum())
        with pytest.raises(
            InvalidInput, match=r"takes float \[\?, 28, 28\] and the images are uint8: scale them as in"
        ):
            client.classify(PICTURES)
        with pytest.raises(UnknownSignature, match=r"does not tell its class names; pass labels=\[…\]"):
            client.labels()
    with model_server(model, protocol) as target, opened(kind, target, model="other", labels=["a", "b", "c"]) as client:
        assert client.classify(UNIT).labels.tolist() == ["a", "b", "c"]
        assert client.labels() == ["a", "b", "c"]
    too_few = pytest.raises(InvalidInput, match="2 class names for the 3 classes of other")
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=["a", "b"]) as client,
        too_few,
    ):
        client.classify(UNIT)


def test_a_model_that_answers_classes_and_scores(kind, protocol):
    names = np.array([[b"boot", b"bag"], [b"hat", b"boot"], [b"bag", b"hat"]], object)
    scores = np.array([[0.7, 0.2], [0.6, 0.4], [0.5, 0.3]], "f4")
    model = float_model(
        {"classes": ("DT_STRING", [-1, 2]), "scores": ("DT_FLOAT", [-1, 2])},
        lambda keras_tensor_4: {"classes": names, "scores": scores},
    )
    with model_server(model, protocol) as target, opened(kind, target, model="other") as client:
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["boot", "hat", "bag"]
        assert result.class_names == ("boot", "bag", "hat")
        assert np.allclose(result.probabilities, [[0.7, 0.2, 0], [0.4, 0, 0.6], [0, 0.5, 0.3]])
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=["hat", "bag", "boot"]) as client,
    ):
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["boot", "hat", "bag"]
        assert result.class_names == ("hat", "bag", "boot")


def test_hangtags_own_top_classes_signature_classifies_too(server, images, kind, protocol):
    with opened(kind, server.target(protocol), signature="top_classes", timeout=60) as client:
        result = client.classify(images[:20])
        assert len(result.class_names) == 10
        with Client(server.grpc, timeout=60) as plain:
            assert (result.labels == plain.classify(images[:20]).labels).all()


def test_outputs_that_are_no_scores_are_refused(kind):
    model = float_model({"a": ("DT_FLOAT", [-1]), "b": ("DT_FLOAT", [-1])}, None)
    refused = pytest.raises(InvalidInput, match=r"gives a, b, not one score a class; use predict")
    with model_server(model, "grpc") as target, opened(kind, target, model="other") as client, refused:
        client.classify(UNIT)


def test_a_plain_keras_export_on_the_real_server(images, tmp_path):
    """`model.export()` of a model that returns logits and has an input with a name of Keras's own."""
    from hangtag.extras import require
    from support import serving

    keras = require("keras", extra="export", what="the test")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.export(tmp_path / "plain" / "1", verbose=False)
    unit = (images[:700] / 255).astype("f4")
    expected = keras.ops.softmax(model(unit)).numpy()
    with serving(tmp_path / "plain", tmp_path / "log", model="plain") as server:
        for target in (server.grpc, server.rest):
            with Client(target, model="plain", timeout=60, labels=["north", "east", "south", "west"]) as client:
                result = client.classify(unit)
                assert np.allclose(result.probabilities, expected, atol=1e-5)
                assert result.labels[0] == ["north", "east", "south", "west"][expected[0].argmax()]
