"""`scores` and `output`: what the numbers mean that a model of another origin gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import BadResponse, InvalidInput


def scores_model(outputs: dict[str, np.ndarray]) -> Model:
    plain = FIRST_PIXEL["serving_default"]
    specs = {name: ("DT_FLOAT", [-1, *values.shape[1:]]) for name, values in outputs.items()}
    run = lambda images: {name: values[: len(images)] for name, values in outputs.items()}  # noqa: E731
    return Model({"serving_default": Signature(plain.inputs, specs, run)})


IMAGES = np.zeros((3, 28, 28), np.uint8)
LOGITS = np.array([[0.2, 0.9, 0.1], [-3, 2, 0.5], [1, 1, 1]], "f4")
SHARES = np.array([[0.2, 0.7, 0.1], [1, 0, 0], [0.5, 0.5, 0]], "f4")


def classified(kind: str, outputs: dict[str, np.ndarray], **options):
    with model_server(scores_model(outputs), "grpc") as target, opened(kind, target, **options) as client:
        return client.classify(IMAGES)


def test_an_output_named_logits_is_and_nothing_else_is_guessed(kind):
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert np.allclose(classified(kind, {"logits": LOGITS}).probabilities, softmax)
    with pytest.warns(UserWarning, match=r"the scores of fashion \(output_0\) do not sum to 1 .* scores='logits'"):
        assert np.array_equal(classified(kind, {"output_0": LOGITS}).probabilities, LOGITS)
    with pytest.warns(UserWarning, match=r"do not sum to 1"):
        assert np.array_equal(classified(kind, {"output_0": LOGITS}, scores="probabilities").probabilities, LOGITS)
    assert np.allclose(classified(kind, {"output_0": LOGITS}, scores="logits").probabilities, softmax)
    assert np.array_equal(classified(kind, {"output_0": SHARES}).probabilities, SHARES)


def test_the_warning_comes_once(kind):
    with (
        model_server(scores_model({"output_0": LOGITS}), "grpc") as target,
        opened(kind, target) as client,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        for count in (1, 2, 3):
            client.classify(IMAGES[:count])
    assert len(caught) == 1


@pytest.mark.parametrize("options", [{}, {"scores": "sigmoid"}], ids=["by its name", "by the caller"])
def test_a_multi_label_model_gives_independent_probabilities(kind, options):
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3], [1, 1, 1]], "f4")
    name = "output_0" if options else "independent_probabilities"
    result = classified(kind, {name: scores}, labels=["sun", "sea", "snow"], **options)
    assert result.independent
    assert result.above(0.5) == [["sun", "sea"], [], ["sun", "sea", "snow"]]
    assert np.array_equal(result.probabilities, scores)


def test_scores_that_no_sigmoid_gives_are_refused(kind):
    with pytest.raises(
        InvalidInput, match=r"output_0 runs from -3 to 2, which a sigmoid cannot return: .* scores='logits'"
    ):
        classified(kind, {"output_0": LOGITS}, scores="sigmoid")
    with pytest.raises(InvalidInput, match="which a sigmoid cannot return"):
        classified(kind, {"output_0": LOGITS[:, :1] * 9}, labels=["no", "yes"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [([1], r"not a finite number for an image \(images 1 to 1\)"), ([0, 2], r"not a finite number for images 0, 2$")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, [-np.inf] * 3], ids=["nan", "infinite", "all-minus-infinite"])
def test_scores_that_are_not_finite_name_the_images(kind, bad, message, value):
    scores = SHARES.copy()
    scores[bad, 1 if np.isscalar(value) else slice(None)] = value
    for options in ({}, {"scores": "logits"}):
        with pytest.raises(BadResponse, match=message):
            classified(kind, {"output_0": scores}, **options)


def test_a_class_ruled_out_by_minus_infinity_is_no_error(kind):
    logits = np.array([[0, -np.inf, 1]] * 3, "f4")
    assert classified(kind, {"output_0": logits}, scores="logits").probabilities[0, 1] == 0


def test_the_output_of_several_is_chosen_and_asked_for_alone(kind, protocol):
    outputs = {"colour": SHARES, "category": np.eye(5, dtype="f4")[:3]}
    model = scores_model(outputs)
    with model_server(model, protocol) as target:
        with opened(kind, target) as client, pytest.raises(InvalidInput, match="choose one by output='NAME'"):
            client.classify(IMAGES)
        for name, values in outputs.items():
            with opened(kind, target, output=name) as client:
                assert np.array_equal(client.classify(IMAGES).probabilities, values)
                assert client.classify(IMAGES[:1]).class_names == tuple(map(str, range(values.shape[1])))
        refused = pytest.raises(InvalidInput, match="has no output 'shape'; it gives colour, category")
        with opened(kind, target, output="shape") as client, refused:
            client.classify(IMAGES)


def test_class_names_from_a_file(kind, tmp_path):
    (tmp_path / "names.txt").write_text("r\ng\nb\n")
    assert classified(kind, {"output_0": SHARES}, labels=tmp_path / "names.txt").labels.tolist() == ["g", "r", "r"]
    with pytest.raises(InvalidInput, match="2 class names for the 3 classes of fashion"):
        classified(kind, {"output_0": SHARES}, labels=["a", "b"])
