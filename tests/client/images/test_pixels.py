"""Layouts and ranges of pixels: what a model takes, from images as people have them."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag.contract import RANGES
from hangtag.images.pixels import arranged, layout_of, scaled

GREY = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
COLOUR = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


@pytest.mark.parametrize(
    ("row", "images", "expected"),
    [
        ((4, 5), GREY, GREY),
        ((4, 5), GREY[..., None], GREY),
        ((4, 5, 1), GREY, GREY[..., None]),
        ((1, 4, 5), GREY, GREY[:, None]),
        ((4, 5, 3), GREY, None),  # it may be one image, channels first
        ((4, 5, 3), COLOUR, COLOUR),
        ((3, 4, 5), COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        ((None, None, 3), COLOUR, COLOUR),
        ((None, 5), GREY, GREY),
        ((4, 5), COLOUR, None),
        ((4, 6), GREY, None),
        ((3, 5, 4), COLOUR, None),
        ((4, 5), GREY[0], None),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_images_are_arranged_as_the_model_takes_them(row, images, expected):
    found = arranged(images, layout_of(row))
    assert (found is None) == (expected is None)
    assert expected is None or (found.shape == expected.shape and (found == expected).all())


@pytest.mark.parametrize("row", [None, (784,), (28, 28, 4), (None, None, None), (1, 2, 3, 4)])
def test_what_is_not_images_has_no_layout(row):
    assert layout_of(row) is None


def test_every_range_is_what_its_users_compute():
    """By the formulas of Keras's `preprocess_input`: modes "tf", "torch" and "caffe"."""
    pixels = COLOUR.astype(np.float64)
    expected = {
        "0..255": pixels,
        "0..1": pixels / 255,
        "-1..1": pixels / 127.5 - 1,
        "imagenet": (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "caffe": pixels[..., ::-1] - [103.939, 116.779, 123.68],
    }
    assert expected.keys() == set(RANGES)
    for name, values in expected.items():
        found = scaled(COLOUR, name, -1)
        assert found.dtype == np.float32
        assert np.allclose(found, values, atol=1e-5)
        first = scaled(COLOUR.transpose(0, 3, 1, 2), name, 1)
        assert np.allclose(first, found.transpose(0, 3, 1, 2))


def test_ranges_of_colours_are_refused_for_grey_models():
    for images, axis in ((GREY, -1), (GREY[..., None], -1), (GREY[:, None], 1)):
        with pytest.raises(InvalidInput, match="pixels='imagenet' is for models that take colour images"):
            scaled(images, "imagenet", axis)
