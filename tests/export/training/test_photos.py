"""What the cnn and its augmentation do with photos: other colours and positions do not count, shapes do."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.data.dataset import Dataset
from hangtag_export.training import architectures, augmentation
from hangtag_export.training.train import train
from make_photos import photo

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES = ("circle", "triangle")


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    """200 training, 60 validation and 60 test images of circles and triangles on textured grounds."""
    random = np.random.default_rng(0)
    labels = np.arange(320) % 2
    images = np.stack([np.asarray(photo(random, SHAPES[label]).resize((48, 48))) for label in labels])
    parts = [(images[a:b], labels[a:b]) for a, b in ((0, 200), (200, 260), (260, 320))]
    return Dataset("drawn", *parts[0], *parts[2], SHAPES, "0", "drawn", *parts[1])


def test_shapes_on_textured_grounds_are_learned_from_a_few_photos(drawn):
    training = train(drawn, "cnn", epochs=20, batch_size=8)
    assert training.evaluation.accuracy > 0.75


@pytest.mark.parametrize("shape", [(96, 96, 3), (50, 33), (300, 180, 3)])
def test_the_first_layers_see_outlines_whatever_their_colours(shape):
    keras = require("keras", extra="export", what="the test")
    model = architectures.build("cnn", shape, 2)
    (layer,) = (layer for layer in model.layers if isinstance(layer, keras.layers.Maximum))
    outlines = keras.Model(model.input, layer.output)
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    seen = outlines(images).numpy()
    assert seen.max() > 0.1
    np.testing.assert_allclose(outlines(1 - images).numpy(), seen, atol=1e-4)
    np.testing.assert_allclose(outlines(images / 2).numpy(), seen, rtol=0.03, atol=1e-3, err_msg="half the light")


@pytest.mark.parametrize("shape", [(64, 40, 3), (64, 40)])
def test_photos_are_changed_by_seed_and_stay_photos(shape):
    images = np.random.default_rng(0).integers(100, 156, (8, *shape), dtype=np.uint8)
    first, again, other = (augmentation.photo(images, seed).numpy() for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.01)
    assert np.abs(first.mean(axis=(1, 2)) - 0.5).max() < 0.35
    assert 0 <= first.min() < first.max() <= 1
