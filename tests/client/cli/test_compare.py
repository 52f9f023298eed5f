"""`hangtag compare`: which of two models is more accurate, and whether the difference is significant."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag.cli.compare import mcnemar
from hangtag.cli.main import main

COUNT = 100


def model_that_is_right_on(images: range) -> Model:
    """For each image, whose number is its first pixel: class 1 on these images, else class 0."""
    plain = FIRST_PIXEL["serving_default"]

    def run(images: np.ndarray, right=images) -> dict[str, np.ndarray]:
        return {"probabilities": np.eye(10, dtype="f4")[[int(number in right) for number in images[:, 0, 0]]]}

    return Model({"serving_default": Signature(plain.inputs, plain.outputs, run)})  # without class names


@pytest.fixture
def archive(tmp_path) -> str:
    images = np.zeros((COUNT, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(COUNT)
    np.savez(tmp_path / "test.npz", images=images, labels=np.ones(COUNT, np.int64))
    np.save(tmp_path / "test.npy", images)
    return str(tmp_path / "test.npz")


def compared(capsys, one: Model, other: Model, *arguments: str, code: int = 0) -> str:
    with model_server(one, "grpc") as left, model_server(other, "grpc") as right:
        assert main(["compare", *arguments, "--target", left, "--target", right]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_difference_that_is_no_accident_is_significant(capsys, archive):
    """The first is right on 70 images, the second on these and 20 more."""
    one, other = model_that_is_right_on(range(70)), model_that_is_right_on(range(90))
    document = json.loads(compared(capsys, one, other, archive, "--json"))
    assert (document["left"]["accuracy"], document["right"]["accuracy"]) == (0.7, 0.9)
    assert (document["only_left_right"], document["only_right_right"]) == (0, 20)
    assert document["p_value"] == pytest.approx(2 * 0.5**20)
    assert document["agreement"] == 0.8
    assert document["changes"][0] == {"image": f"{archive}[70]", "left": "0", "right": "1"}
    assert "the difference in accuracy is significant (McNemar's exact test: p = 1.91e-06)" in compared(
        capsys, one, other, archive
    )


def test_true_labels_are_of_the_classes_that_the_archive_names(capsys, archive, tmp_path):
    """In another order than the model's: a label is not taken for the model's class of that number."""
    order = [*map(str, range(1, 10)), "0"]
    labels = np.full(COUNT, order.index("1"))
    np.savez(tmp_path / "named.npz", images=np.load(archive)["images"], labels=labels, class_names=np.array(order))
    one = model_that_is_right_on(range(70))
    document = json.loads(compared(capsys, one, one, str(tmp_path / "named.npz"), "--json"))
    assert document["left"]["accuracy"] == 0.7


def test_a_difference_of_few_images_is_not(capsys, archive):
    out = compared(capsys, model_that_is_right_on(range(70)), model_that_is_right_on(range(2, 74)), archive)
    assert "the difference in accuracy is not significant (McNemar's exact test: p = 0.688)" in out


def test_without_true_labels_it_compares_the_answers_alone(capsys, archive):
    array = archive.replace(".npz", ".npy")
    one, other = model_that_is_right_on(range(70)), model_that_is_right_on(range(90))
    out = compared(capsys, one, other, array)
    assert "they agree on 80.00% of 100 images" in out
    assert "McNemar" not in out


@pytest.mark.parametrize(
    "labels",
    [np.ones(COUNT), np.full(COUNT, 10), np.full(COUNT, -1), np.ones((COUNT, 1), int), np.ones(3, int)],
    ids=["floats", "too large", "negative", "two dimensions", "too few"],
)
def test_true_labels_that_cannot_be_right_are_one_sentence(capsys, archive, tmp_path, labels):
    np.savez(tmp_path / "bad.npz", images=np.load(archive)["images"], labels=labels)
    model = model_that_is_right_on(range(1))
    error = compared(capsys, model, model, str(tmp_path / "bad.npz"), code=2)
    assert error.count("\n") == 1
    assert "must hold one whole number 0..9 for each image" in error or "100 images and 3 true class names" in error


def test_by_default_it_takes_the_test_images_of_fashion_mnist(server, capsys):
    assert main(["compare", "--target", server.grpc, "--target", server.rest, "--timeout=60", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 10_000
    assert document["left"]["accuracy"] == document["right"]["accuracy"] > 0.7
    assert (document["agreement"], document["p_value"]) == (1, 1)


def test_without_that_data_it_says_what_to_pass(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HANGTAG_DATA", str(tmp_path))
    assert main(["compare", "--version=1", "--version=2"]) == 2
    assert "Fashion-MNIST's test images are not on this machine: give images" in capsys.readouterr().err


@pytest.mark.parametrize(("one", "other"), [(0, 1), (3, 9), (12, 12), (4000, 4200)])
def test_the_p_value_is_that_of_a_fair_coin(one, other):
    count, few = one + other, min(one, other)
    expected = min(1.0, 2 * math.fsum(math.exp(_log_binomial(count, k)) for k in range(few + 1)))
    assert mcnemar(one, other) == mcnemar(other, one) == pytest.approx(expected, rel=1e-6)


def _log_binomial(count: int, chosen: int) -> float:
    """The logarithm of the probability of `chosen` heads."""
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1) - count * math.log(2)
