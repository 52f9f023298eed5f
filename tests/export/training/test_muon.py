"""The cnn's kernels are updated by Muon, and its files have an optimizer that Keras knows."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.training import muon
from hangtag_export.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (3, 3, 1, 16), (1, 1, 4, 4)], ids=["tall", "wide", "square"])
def test_an_update_has_singular_values_of_about_the_same_size(shape):
    tf = require("tensorflow", extra="export", what="the test")
    gradient = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    gradient[..., 0] *= 50
    rows, columns = np.prod(shape[:3]), shape[3]
    update = np.reshape(muon._orthogonal(tf.constant(gradient)), (rows, columns))
    values = np.linalg.svd(update, compute_uv=False) / (0.2 * max(rows, columns) ** 0.5)
    assert ((values > 0.5) & (values < 1.3)).all(), values


def test_the_cnn_learns_by_muon_and_is_saved_with_adamw(very_few, tmp_path):
    """Muon has no second moments: those of kernels stay zero. Loaded by Keras alone, the optimizer has its state."""
    keras = require("keras", extra="export", what="the test")
    train(very_few, "cnn", epochs=1, batch_size=32, validation_split=0).model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is keras.optimizers.AdamW
    for variable in loaded.trainable_variables:
        index = loaded.optimizer._get_variable_index(variable)
        assert np.any(loaded.optimizer._momentums[index].numpy())
        assert np.any(loaded.optimizer._velocities[index].numpy()) == (len(variable.shape) != 4), variable.path
