"""Which output holds the scores, and what they are."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag.optional import require
from hangtag_export.existing_model.outputs import check_scores, choose_output, last_operation, score_output

TWO, THREE = ["no", "yes"], ["a", "b", "c"]


@pytest.mark.parametrize(
    ("units", "operation", "declared", "names", "scores", "output"),
    [
        (3, "Softmax", None, THREE, "probabilities", "probabilities"),
        (3, "Softmax", "probabilities", THREE, "probabilities", "probabilities"),
        (3, "BiasAdd", "logits", THREE, "logits", "probabilities"),
        (3, "BiasAdd", "probabilities", THREE, "probabilities", "probabilities"),
        (3, "LogSoftmax", None, THREE, "logits", "probabilities"),
        (3, "Sigmoid", None, THREE, "sigmoid", "independent_probabilities"),
        (3, "Mul", "sigmoid", THREE, "sigmoid", "independent_probabilities"),
        (1, "Sigmoid", None, TWO, "sigmoid", "probabilities"),
        (1, "BiasAdd", "logits", TWO, "logits", "probabilities"),
    ],
)
def test_scores_are_declared_or_known(units, operation, declared, names, scores, output):
    found = score_output("x", (None, units), operation, declared, names)
    assert (found.scores, found.signature_output, found.classes) == (scores, output, len(names))
    values = np.random.default_rng(0).random((4, units)).astype(np.float32)
    in_graph = np.asarray(found.probabilities(values))
    assert in_graph.shape == (4, len(names))
    assert np.allclose(in_graph, found.expected(values), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "operation", "declared", "names", "message"),
    [
        ((None, 3), "BiasAdd", None, THREE, "ends neither in a softmax nor in a sigmoid (but in BiasAdd)"),
        ((None, 3), "Softmax", "logits", THREE, "ends in a softmax, so its scores are not logits"),
        ((None, 3), "Sigmoid", "probabilities", THREE, "ends in a sigmoid, so its scores are not probabilities"),
        ((None, 3), "Softmax", None, TWO, "has 3 classes, and there are 2 class names"),
        ((None, 1), "Sigmoid", None, THREE, "has one unit, for two classes: give two class names"),
        ((None, 1), "Softmax", None, TWO, "softmax of one unit, which is always 1"),
        ((None, 7, 7, 3), "Softmax", None, THREE, "is [N, 7, 7, 3]: a classifier's is [N, C]"),
        ((None, None), "Softmax", None, THREE, "is [N, ?]"),
    ],
)
def test_what_is_not_known_or_contradicts_is_one_sentence(shape, operation, declared, names, message):
    with pytest.raises(InvalidInput) as error:
        score_output("x", shape, operation, declared, names)
    assert message in str(error.value)


def test_one_output_of_several_is_chosen():
    assert choose_output(["kind"], None) == "kind"
    assert choose_output(["box", "kind"], "kind") == "kind"
    with pytest.raises(InvalidInput, match=r"choose one with --output \(box, kind\)"):
        choose_output(["box", "kind"], None)
    with pytest.raises(InvalidInput, match=r"no output 'x' \(it has box, kind\)"):
        choose_output(["box", "kind"], "x")


def test_scores_that_are_not_what_was_declared_are_noticed():
    probabilities = score_output("x", (None, 3), "Mul", "probabilities", THREE)
    with pytest.raises(InvalidInput, match=r"values from -1 to 3, .* try --scores logits"):
        check_scores(probabilities, np.array([[-1.0, 3, 0]]), 1e-5)
    with pytest.raises(InvalidInput, match=r"do not sum to 1.* try --scores sigmoid"):
        check_scores(probabilities, np.array([[0.9, 0.9, 0.1]]), 1e-5)
    with pytest.raises(InvalidInput, match="not a finite number"):
        check_scores(probabilities, np.array([[np.nan, 0.9, 0.1]]), 1e-5)
    check_scores(score_output("x", (None, 3), "Sigmoid", None, THREE), np.array([[0.9, 0.9, 0.1]]), 1e-5)


def test_the_last_operation_is_followed_through_functions_and_casts():
    tf = require("tensorflow", extra="export", what="the test")

    @tf.function(autograph=False)
    def inner(x):
        return tf.reshape(tf.cast(tf.nn.softmax(x), tf.float16), (-1, 3))

    spec = tf.TensorSpec((None, 3), tf.float32)

    def operation(function) -> str:
        traced = tf.function(lambda x: {"y": function(x)}, input_signature=[spec], autograph=False)
        return last_operation(traced.get_concrete_function(), "y")

    assert operation(lambda x: tf.identity(tf.cast(inner(x), tf.float32))) == "Softmax"
    assert operation(tf.sigmoid) == "Sigmoid"
    assert operation(lambda x: x @ tf.ones((3, 3))) == "MatMul"
    assert operation(lambda x: inner(x) + 1) == "AddV2"
