"""The figures of an evaluation, against counting by hand and against Keras."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.evaluation import as_floats, compare, evaluate


@pytest.fixture(scope="module")
def model(exported):
    keras = require("keras", extra="export", what="the test")
    return keras.models.load_model(exported.parent / "model.keras")


def test_loss_and_accuracy_are_keras_own(model, dataset):
    images, labels = dataset.test_images, dataset.test_labels
    found = evaluate(model, images, labels, dataset.class_names)
    loss, accuracy = model.evaluate(as_floats(images), labels, batch_size=1000, verbose=0)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)


def test_per_class_figures_are_what_counting_gives(model, dataset):
    images, labels = dataset.test_images[:500], dataset.test_labels[:500]
    found = evaluate(model, images, labels, dataset.class_names)
    predicted = found.probabilities.argmax(axis=1)
    for label, name in enumerate(dataset.class_names):
        both = int(((predicted == label) & (labels == label)).sum())
        precision, recall = both / (predicted == label).sum(), both / (labels == label).sum()
        row = found.to_dict()["per_class"][name]
        assert row["precision"] == pytest.approx(precision, abs=1e-4)
        assert row["recall"] == pytest.approx(recall, abs=1e-4)
        assert row["f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-4)
        assert row["images"] == (labels == label).sum()
        for other in range(10):
            assert found.confusion[label, other] == ((labels == label) & (predicted == other)).sum()


def test_a_class_that_is_never_predicted_has_no_precision():
    found = compare(np.array([[0.9, 0.1], [0.8, 0.2]], np.float32), np.array([0, 1]), ["bag", "boot"])
    assert found.precision.tolist() == [0.5, 0]
    assert found.f1.tolist() == [pytest.approx(2 / 3), 0]
    assert "boot" in found.table()
