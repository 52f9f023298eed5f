"""Batches have every image once an epoch, in an order of the seed and the epoch."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag_export.training import batches


@pytest.mark.parametrize("count", [1, 31, 32, 33, 330, 2000, 4001])
@pytest.mark.parametrize("grouped", [True, False])
def test_every_epoch_has_every_image_once_in_another_order(count, grouped):
    images = np.zeros((count, 2, 2), np.uint8)
    plan = batches.plan(count, (2, 2), 32, grouped=grouped)
    stream = batches.training(images, np.arange(count), plan, seed=3, epochs=range(2))
    places = [np.ravel(labels) for _, labels in stream.as_numpy_iterator()]
    epochs = np.concatenate(places[: len(plan)]), np.concatenate(places[len(plan) :])
    for order in epochs:
        assert sorted(order) == list(range(count))
    assert count < 32 or not np.array_equal(*epochs)
    second = batches.training(images, np.arange(count), plan, seed=3, epochs=range(1, 2))
    again = np.concatenate([np.ravel(labels) for _, labels in second.as_numpy_iterator()])
    assert np.array_equal(again, epochs[1]), "an epoch's order does not depend on the epochs before"


def test_nothing_that_sleeps_for_a_minute_runs_beside_a_training():
    """TensorFlow's thread of automatic tuning does, and the end of a training would wait for it."""
    images = np.zeros((4, 2, 2), np.uint8)
    plan = batches.plan(4, (2, 2), 2, grouped=False)
    for data in (
        batches.training(images, np.arange(4), plan, seed=3, epochs=range(1)),
        batches.in_order(images, np.arange(4), 2),
    ):
        assert data.options().autotune.enabled is False
