"""What is in a version's folder, and that a wrong one is not published."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hangtag.errors import HangtagError
from hangtag.optional import require
from hangtag_export.data import image_decoding
from hangtag_export.errors import ExportError
from hangtag_export.savedmodel import warmup
from hangtag_export.savedmodel.verification import Verifier

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIGNATURES = {"serving_default", "normalized_images", "encoded_images", "top_classes", "labels", "classify"}


@pytest.fixture(scope="module")
def keras():
    return require("keras", extra="export", what="the test")


@pytest.fixture(scope="module")
def expected(keras, exported, images) -> np.ndarray:
    """Keras's own probabilities of the first 32 test images."""
    model = keras.models.load_model(exported.parent / "model.keras")
    return model.predict(images[:32] / np.float32(255), verbose=0)


def picture(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:fashion was trained on Fashion-MNIST")  # one of the files is large
def test_pictures_of_any_size_are_decoded_as_in_training(client, images):
    """PNG and JPEG, grey and colour, large and small: the answer is that of the pixels `decode` gives."""
    large = np.kron(images[0], np.ones((5, 3), np.uint8))
    files = [
        picture(large, "PNG"),
        picture(large, "JPEG", quality=90),
        picture(np.stack([images[1]] * 3, axis=2), "PNG"),
        picture(images[2][:9, :7], "JPEG"),
    ]
    pixels = np.stack([image_decoding.decode(file, (28, 28)).numpy() for file in files])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[2], images[1])
    assert np.allclose(client.classify(files).probabilities, client.classify(pixels).probabilities, atol=1e-5)


@pytest.mark.parametrize("rubbish", [b"rubbish", b"", b"\x89PNG\r\n\x1a\n cut short"], ids=["text", "nothing", "cut"])
def test_rubbish_is_refused_for_that_request_alone(client, images, rubbish):
    good = picture(images[0], "PNG")
    files = np.empty(2, object)
    files[:] = [good, rubbish]
    with pytest.raises(HangtagError):
        client.predict({"images": files}, signature="encoded_images")
    assert client.classify(good)[0].label == client.classify(images[0])[0].label


def test_there_is_a_warmup_record_for_every_signature(exported, client):
    """Each is a request that the server answers."""
    records = dict(warmup.read(exported / "1"))
    assert records.keys() == SIGNATURES
    for signature, arrays in records.items():
        assert client.predict(arrays, signature=signature)


def test_the_card_says_how_the_version_came_about(exported):
    card = json.loads((exported / "1" / "assets.extra" / "hangtag.json").read_text())
    assert card["class_names"][9] == "Ankle boot"
    assert card["class_names_zh"][9] == "短靴"
    assert card["dataset"] == "fashion-mnist"
    assert (card["architecture"], card["seed"], card["epochs"]) == ("dense", 42, 1)
    assert card["per_class"]["Trouser"]["f1"] > 0.9
    assert np.sum(card["confusion_matrix"]) == 10_000
    assert {"test_accuracy", "test_loss", "dataset_sha256", "tensorflow", "keras"} <= card.keys()


def test_a_published_version_can_be_read_back_into_keras(exported, images, expected, keras):
    layer = keras.layers.TFSMLayer(str(exported / "1"), call_endpoint="serving_default")
    assert np.allclose(layer(images[:32])["probabilities"], expected, atol=1e-5)


# ---- verification


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    with Verifier() as begun:
        yield begun


def test_a_version_that_answers_otherwise_than_keras_is_not_published(verifier, exported, images, expected, dataset):
    """One that answers alike is: every export in these tests is verified."""
    with pytest.raises(ExportError, match=r"signature 'serving_default' .* does not give the outputs of Keras"):
        verifier.verify(exported / "1", images[:32], np.roll(expected, 1, axis=0), dataset.class_names)


def test_the_new_process_begins_before_the_version_is_written_and_ends_in_any_case(own_verification_process):
    with Verifier() as verifier:
        assert verifier._process.poll() is None
    assert verifier._process.poll() is not None
    assert verifier._process.stdin.closed


def copied(exported: Path, folder: Path) -> Path:
    return Path(shutil.copytree(exported / "1", folder / "version"))


def test_a_version_without_its_variables_is_not_published(
    own_verification_process, exported, images, expected, dataset, tmp_path
):
    """The C++ server calls such a version AVAILABLE and then fails every request."""
    version = copied(exported, tmp_path)
    shutil.rmtree(version / "variables")
    with Verifier() as verifier, pytest.raises(ExportError, match="does not load and run as TensorFlow Serving would"):
        verifier.verify(version, images[:32], expected, dataset.class_names)


def test_a_version_whose_warmup_fails_is_not_published(verifier, exported, images, expected, dataset, tmp_path):
    """It would not load either: the server runs the records first."""
    version = copied(exported, tmp_path)
    warmup.write(version, {"serving_default": {"images": np.zeros((1, 28, 27), np.uint8)}}, "fashion")
    with pytest.raises(ExportError, match="does not load and run as TensorFlow Serving would"):
        verifier.verify(version, images[:32], expected, dataset.class_names)
