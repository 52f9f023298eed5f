"""The figures of an evaluation, against counting by hand and against Keras."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag.optional import require
from hangtag_export import Dataset
from hangtag_export.errors import DataError
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


IMAGES, LABELS = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4), np.arange(6) % 3


def made(**changed) -> Dataset:
    parts = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}
    rest = {"name": "x", "class_names": ("a", "b", "c"), "checksum": "0", "origin": "memory"}
    return Dataset(**parts | rest | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_labels": LABELS[:5]}, r"train_labels are int64 \[5\]: give 6 whole numbers"),
        ({"test_labels": LABELS / 2}, r"test_labels are float64 \[6\]: give 6 whole numbers"),
        ({"train_labels": np.eye(3)[LABELS]}, r"train_labels are float64 \[6, 3\]"),
        ({"train_labels": LABELS + 1}, "train_labels run from 1 to 3: 3 classes have 0 to 2"),
        (
            {"train_images": IMAGES / 255},
            "train_images are float64 from 0 to .*: give whole numbers 0..255, not scaled",
        ),
        ({"test_images": IMAGES * np.nan}, "test_images are float64 from nan to nan"),
        ({"test_images": IMAGES[:, :3]}, r"train_images are of \(4, 4\) and test_images of \(3, 4\)"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, "give one image or more"),
        ({"train_images": "photos"}, "train_images is a str: give an array of images"),
        ({"class_names": ("a", "b", "a")}, "class names 0 and 2 are both 'a'"),
    ],
)
def test_a_data_set_that_cannot_be_right_is_one_sentence(changed, message):
    with pytest.raises((DataError, InvalidInput), match=message):
        made(**changed)


def test_other_whole_numbers_and_lists_are_taken():
    changed = {"train_images": IMAGES[..., None].astype(float), "test_labels": LABELS.astype(np.uint8).tolist()}
    dataset = made(**changed, class_names=["a", "b", "c"])
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.train_images.dtype == np.uint8
    assert np.array_equal(dataset.train_images, IMAGES)
    assert dataset.test_labels.dtype == np.int64


def test_labels_of_eight_bits_do_not_overflow():
    """Their product with the number of classes would."""
    found = compare(np.eye(20, dtype=np.float32), np.arange(20, dtype=np.uint8), [f"class {n}" for n in range(20)])
    assert found.confusion.tolist() == np.eye(20).tolist()
    with pytest.raises(DataError, match="scores are not finite numbers"):
        compare(np.full((1, 2), np.nan, np.float32), np.array([0]), ["a", "b"])
