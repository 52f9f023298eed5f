"""Temperature scaling makes scores match the accuracy, in training and in what is published."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.calibration import find_temperature, with_probabilities
from hangtag_export.evaluation import calibration_error, evaluate, predict
from hangtag_export.savedmodel import published
from hangtag_export.training import architectures
from hangtag_export.training.train import train
from shortened import shortened
from support import run


def softmax(logits: np.ndarray) -> np.ndarray:
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def overconfident() -> tuple[np.ndarray, np.ndarray]:
    """Logits three times as large as those that the labels were drawn by."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 1.5, (4000, 6))
    labels = np.array([random.choice(6, p=row) for row in softmax(logits)])
    return 3 * logits, labels


def test_the_temperature_undoes_overconfidence(overconfident):
    logits, labels = overconfident
    probabilities = softmax(logits).astype(np.float32)
    temperature = find_temperature(probabilities, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    assert calibration_error(probabilities, labels) > 0.2
    assert calibration_error(softmax(logits / temperature), labels) < 0.03


def test_a_few_images_that_are_all_right_do_not_make_the_model_certain():
    probabilities = np.tile(np.array([0.9, 0.05, 0.05], np.float32), (72, 1))
    temperature = find_temperature(probabilities, np.zeros(72, np.int64))
    assert 0.98 < softmax(np.log(probabilities) / temperature).max() < 0.995


@pytest.mark.parametrize("name", ["dense", "logits"])
def test_the_served_model_divides_its_logits(name):
    model = architectures.build(name, (4, 4), 3)
    images = np.random.default_rng(0).random((5, 4, 4), np.float32)
    expected = softmax(np.log(with_probabilities(model)(images).numpy()) / 2.5)
    np.testing.assert_allclose(with_probabilities(model, 2.5)(images).numpy(), expected, atol=1e-6)


def test_the_cnn_is_served_as_the_mean_of_an_image_and_its_mirror_image(very_few):
    done = train(very_few, "cnn", epochs=1, batch_size=32, validation_split=0)
    images = very_few.test_images[:8] / np.float32(255)
    one, other = done.model(images).numpy(), done.model(images[:, :, ::-1]).numpy()
    assert not np.allclose(one, other, atol=1e-3)
    for given in (images, images[:, :, ::-1]):
        np.testing.assert_allclose(done.served(given).numpy(), softmax((one + other) / 2), atol=1e-5)
    np.testing.assert_allclose(done.evaluation.probabilities[:8], softmax((one + other) / 2), atol=1e-5)


def test_training_calibrates_where_there_are_validation_images(dataset):
    some = shortened(dataset, train=1000)
    # A rate this high makes a small model very sure of itself.
    options = {"epochs": 20, "learning_rate": 0.01, "validation_split": 0.3}
    scaled = train(some, "logits", **options)
    plain = train(some, "logits", calibrate=False, **options)
    assert scaled.temperature > 1.1
    assert plain.temperature == 1
    assert train(some, "logits", epochs=1).temperature == 1, "nothing is held out"
    assert scaled.evaluation.accuracy == plain.evaluation.accuracy
    assert scaled.evaluation.calibration_error < 0.7 * plain.evaluation.calibration_error
    assert scaled.evaluation.loss < plain.evaluation.loss


def test_the_published_version_has_the_temperature(tmp_path, dataset):
    keras = require("keras", extra="export", what="the test")
    file = tmp_path / "model.keras"
    done = run(
        "export", "--architecture=logits", "--epochs=1", "--validation-split=0.1", f"--keras={file}",
        f"--base-path={tmp_path / 'fashion'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "fashion" / "1" / "assets.extra" / "hangtag.json").read_text())
    images, labels = dataset.test_images[:200], dataset.test_labels[:200]
    probabilities, names = published.predict(tmp_path / "fashion", images)
    assert tuple(names) == dataset.class_names
    assert card["temperature"] != 1
    assert f"temperature {card['temperature']:.3f}" in done.stdout
    logits = predict(keras.models.load_model(file), images)
    np.testing.assert_allclose(probabilities, softmax(logits / card["temperature"]), atol=1e-3)
    assert 0 < card["expected_calibration_error"] < 0.2
    found = evaluate(tmp_path / "fashion" / "1", images, labels)
    assert found.accuracy == (probabilities.argmax(axis=1) == labels).mean()
