"""Any choice of outputs is answered, in any order, within limits: few are prepared, and what they take is counted."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_serving.api.predict import chosen_outputs
from hangtag_serving.errors import ServingError
from hangtag_serving.limits import Budget, Limits
from hangtag_serving.models.servable import Servable

OUTPUTS = [f"times_{n}" for n in range(8)]


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory):
    tf = require("tensorflow", extra="serving", what="the test")

    class Multiples(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def all(self, x):
            return {name: x * float(n) for n, name in enumerate(OUTPUTS)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="index")])
        def embed(self, index):
            return {"row": tf.gather(tf.zeros([4, 1000]), index)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="index")])
        def text(self, index):
            return {"text": tf.gather(tf.constant([b"a" * 10_000]), index)}

    folder: Path = tmp_path_factory.mktemp("multiples") / "1"
    model = Multiples()
    signatures = {"serving_default": model.all, "embed": model.embed, "text": model.text}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    servable = Servable("multiples", 1, folder)
    yield servable
    servable.close()


def test_every_choice_of_outputs_is_answered_and_few_are_prepared(servable):
    choices = [list(choice) for size in range(1, 9) for choice in itertools.combinations(OUTPUTS, size)]
    random.Random(0).shuffle(choices)
    for choice in choices:
        random.Random(1).shuffle(choice)
        results = servable.run("", {"x": np.array([1, 2], np.float32)}, choice)
        expected = [[float(OUTPUTS.index(name)), 2.0 * OUTPUTS.index(name)] for name in choice]
        assert [array.tolist() for array in results] == expected
    assert len(servable._calls["serving_default"]) == 16


def test_the_order_of_an_output_filter_does_not_matter(servable):
    signature = servable.signature("")
    assert chosen_outputs(signature, ["times_3", "times_1"]) == chosen_outputs(signature, ["times_1", "times_3"])
    assert chosen_outputs(signature, []) == OUTPUTS


def test_outputs_whose_size_is_known_are_refused_before_they_are_computed(servable):
    """Ten million rows of 4,000 bytes, from eight bytes each."""
    with pytest.raises(ServingError, match="max_tensor_bytes"):
        servable.run("embed", {"index": np.zeros(10_000_000, np.int64)}, ["row"], budget=Budget())


@pytest.mark.parametrize(("signature", "output"), [("embed", "row"), ("text", "text")])
def test_all_outputs_count_with_what_the_request_takes(servable, signature, output):
    inputs = {"index": np.zeros(10, np.int64)}  # ten rows of 4,000 or 10,000 bytes
    budget = Budget(Limits(tensor_bytes=250_000))
    servable.run(signature, inputs, [output], budget=budget)
    budget.take(149_000)
    with pytest.raises(ServingError, match="max_tensor_bytes=250000"):
        servable.run(signature, {"index": np.zeros(30, np.int64)}, [output], budget=budget)


def test_outputs_are_limited_where_no_budget_is_passed(servable, monkeypatch):
    """As by the fast paths, whose inputs take no memory of their own."""
    monkeypatch.setattr(servable, "limits", Limits(tensor_bytes=1000))
    with pytest.raises(ServingError, match="max_tensor_bytes=1000"):
        servable.run("embed", {"index": np.zeros(1, np.int64)}, ["row"])
