"""Which calls may share a run, and when that pays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hangtag_serving.fast.batch_target import BatchTarget
from hangtag_serving.models.servable import Servable

MODELS = Path(__file__).parents[1] / "conformance" / "models"


@pytest.fixture(scope="module")
def types() -> Iterator[Servable]:
    servable = Servable("types", 1, MODELS / "types" / "1")
    yield servable
    servable.close()


def test_a_signature_that_mixes_rows_is_never_merged(types):
    """`special` computes each row separately; `scalar_out` sums over all of them."""
    by_row, over_all = target(types, "special", "x", "y"), target(types, "scalar_out", "x", "total")
    ones = [np.ones(1, np.float32), np.ones(2, np.float32)]
    assert by_row.is_row_wise()
    assert not over_all.is_row_wise()
    assert over_all.run_together(ones) is None
    together = by_row.run_together(ones)
    assert together is not None
    assert [len(arrays[0]) for arrays in together] == [1, 2]


def test_calls_run_together_get_what_each_would_get_alone(types):
    doubled = row_wise_target(types)
    arrays = [np.arange(n, dtype=np.float32) for n in (1, 2, 3)]
    together = doubled.run_together(arrays)
    assert together is not None
    for array, (result,) in zip(arrays, together, strict=True):
        np.testing.assert_array_equal(result, doubled.run(array)[0])


def test_a_size_at_which_sharing_a_run_was_slow_is_tried_again(types, monkeypatch):
    doubled = row_wise_target(types)
    pair = [np.ones(2, np.float32)] * 2
    assert doubled.run_together(pair) is not None
    for size_class in range(64):
        doubled._record_time(size_class, 0.001)  # one or several rows: the same
    doubled._seconds[(4).bit_length()] = 1.0  # as if TensorFlow had been disturbed
    outcomes = [doubled.run_together(pair) is not None for _ in range(1000)]
    assert not outcomes[0]
    assert any(outcomes)


def row_wise_target(servable: Servable) -> BatchTarget:
    found = target(servable, "special", "x", "y")
    assert found.is_row_wise()
    return found


def target(servable: Servable, signature: str, alias: str, output: str) -> BatchTarget:
    return BatchTarget(servable, signature, alias, [output], np.dtype(np.float32), ())
