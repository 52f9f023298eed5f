"""Any choice of outputs is answered, in any order; only so many are prepared, since clients make the choice."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_serving.api.predict import chosen_outputs
from hangtag_serving.models.servable import Servable

OUTPUTS = [f"times_{n}" for n in range(8)]


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory):
    tf = require("tensorflow", extra="serving", what="the test")

    class Multiples(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def all(self, x):
            return {name: x * float(n) for n, name in enumerate(OUTPUTS)}

    folder: Path = tmp_path_factory.mktemp("multiples") / "1"
    model = Multiples()
    tf.saved_model.save(model, str(folder), signatures=model.all)
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
    assert sum(map(len, servable._calls.values())) == 16


def test_the_order_of_an_output_filter_does_not_matter(servable):
    signature = servable.signature("")
    assert chosen_outputs(signature, ["times_3", "times_1"]) == chosen_outputs(signature, ["times_1", "times_3"])
    assert chosen_outputs(signature, []) == OUTPUTS
