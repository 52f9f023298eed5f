"""The layout of the images that a model takes, and the range of its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag.optional import require
from hangtag_export.existing_model.inputs import image_input, known_pixels, pixel_range, size_of
from hangtag_export.existing_model.loading import Source


@pytest.mark.parametrize(
    ("shape", "size", "image_shape", "prepared"),
    [
        ((None, 8, 9), None, (8, 9), (8, 9)),
        ((None, 8, 9, 1), None, (8, 9), (8, 9, 1)),
        ((None, 8, 9, 3), None, (8, 9, 3), (8, 9, 3)),
        ((None, 1, 8, 9), None, (8, 9), (1, 8, 9)),
        ((None, 3, 8, 9), None, (8, 9, 3), (3, 8, 9)),
        ((1, 8, 9, 3), (8, 9), (8, 9, 3), (8, 9, 3)),
        ((None, None, None, 3), (8, 9), (8, 9, 3), (8, 9, 3)),
        ((None, 3, None, None), (8, 9), (8, 9, 3), (3, 8, 9)),
        ((None, 72), (8, 9), (8, 9), (72,)),
        ((None, 216), (8, 9), (8, 9, 3), (216,)),
    ],
)
def test_layouts(shape, size, image_shape, prepared):
    taken = image_input(shape, size, "0..1", is_integer=False)
    assert taken.image_shape == image_shape
    images = np.arange(2 * np.prod(image_shape), dtype=np.float32).reshape(2, *image_shape)
    result = taken.prepare(images)
    assert result.shape == (2, *prepared)
    if prepared[0] == 3:
        assert np.array_equal(result[:, 1], images[..., 1] / np.float32(255)), "the second channel, not the second row"
    tf = require("tensorflow", extra="export", what="the test")
    assert np.array_equal(taken.prepare(tf.constant(images)), result), "the graph does as numpy does"


@pytest.mark.parametrize(
    ("pixels", "white"),
    [
        ("0..1", [1, 1, 1]),
        ("0..255", [255, 255, 255]),
        ("-1..1", [1, 1, 1]),
        ("imagenet", [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("caffe", [255 - 103.939, 255 - 116.779, 255 - 123.68]),
    ],
)
def test_ranges(pixels, white):
    taken = image_input((None, 1, 1, 3), None, pixels, is_integer=False)
    assert np.allclose(taken.prepare(np.full((1, 1, 1, 3), 255, np.float32)), white, atol=1e-5)
    assert np.allclose(taken.prepare(np.ones((1, 1, 1, 3), np.float32), unit=True), white, atol=1e-4)
    red = taken.prepare(np.array([[[[255, 0, 0]]]], np.float32))[0, 0, 0]
    assert red.argmax() == (2 if pixels == "caffe" else 0), "caffe's order is blue, green, red"


@pytest.mark.parametrize(
    ("shape", "size", "pixels", "message"),
    [
        ((None, None, None, 3), None, "0..1", "choose one with --image-size"),
        ((None, 8, 8, 3), (9, 9), "0..1", "takes images of 8x8, not 9x9"),
        ((4, 8, 8, 3), None, "0..1", "exactly 4 images at a time"),
        ((None, 8, 8, 4), None, "0..1", "[N, 8, 8, 4]"),
        ((None, 2, 8, 8, 3), None, "0..1", "[N, 2, 8, 8, 3]"),
        ((None, 72), None, "0..1", "flattened images: give their size with --image-size"),
        ((None, 73), (8, 9), "0..1", "are not the 73 numbers"),
        ((None, 8, 8), None, "imagenet", "is for colour images"),
    ],
)
def test_a_model_that_cannot_be_published_is_one_sentence(shape, size, pixels, message):
    with pytest.raises(InvalidInput) as error:
        image_input(shape, size, pixels, is_integer=False)
    assert message in str(error.value)


@pytest.mark.parametrize("size", ["8", 8.0, True, 0, (8,), (8, 8, 3), (8, -1)])
def test_a_size_is_one_number_of_pixels_or_two(size):
    assert size_of(np.int64(8)) == (8, 8)
    assert size_of([8, 9]) == (8, 9)
    with pytest.raises(InvalidInput, match="is neither a number of pixels, like 224, nor two"):
        size_of(size)


@pytest.mark.parametrize(
    ("dtype", "pixels", "message"),
    [
        ("int8", None, "int8, which cannot hold pixels 0..255"),
        ("uint8", "0..1", "whole numbers, of uint8, which pixels 0..1 are not: leave out --pixels"),
        ("bool", "0..1", "the model takes bool: only an input of numbers"),
        ("complex64", "0..1", "the model takes complex64: only an input of numbers"),
        ("float32", None, "give the range that it was trained with as --pixels"),
    ],
)
def test_a_range_that_the_dtype_cannot_hold(dtype, pixels, message):
    tf = require("tensorflow", extra="export", what="the test")
    source = Source(lambda images: {}, (None, 8, 8), tf.as_dtype(dtype), "x", {})
    with pytest.raises(InvalidInput) as error:
        pixel_range(source, pixels, lambda line: None)
    assert message in str(error.value)


def test_the_first_layer_determines_the_range():
    keras = require("keras", extra="export", what="the test")
    layers = keras.layers

    def known(*first) -> str | None:
        model = keras.Sequential([keras.Input((32, 32, 3)), *first, layers.Flatten(), layers.Dense(2)])
        found = known_pixels(model)
        return None if found is None else found[0]

    assert known(layers.Rescaling(1 / 255)) == "0..255"
    assert known(layers.Rescaling(1 / 127.5, offset=-1)) == "0..255"
    assert known(layers.Rescaling(2, offset=-1)) == "0..1"
    assert known(layers.Normalization(mean=[0.5] * 3, variance=[0.06] * 3)) == "0..1"
    assert known(layers.Normalization(mean=[120.0] * 3, variance=[3000.0] * 3)) == "0..255"
    assert known(layers.RandomFlip(), layers.RandomRotation(0.1), layers.Rescaling(1 / 255)) == "0..255"
    assert known(keras.Sequential([layers.Resizing(16, 16), layers.Rescaling(1 / 255)])) == "0..255"
    assert known(layers.Conv2D(2, 3), layers.Rescaling(1 / 255)) is None
    noise = (layers.GaussianNoise(0.1), layers.Pipeline([layers.RandomContrast(0.1), layers.Cropping2D(1)]))
    assert known(*noise, layers.Rescaling(1 / 255)) == "0..255"
    assert known(layers.Normalization(mean=0.286, variance=0.353**2)) == "0..1", "Fashion-MNIST"
    assert known(layers.Normalization(mean=[-0.1] * 3, variance=[0.2] * 3)) is None, "of pixels -1..1"
    assert known(layers.Normalization(mean=[120.0] * 3, variance=[3000.0] * 3, invert=True)) is None
    assert known(layers.Rescaling(1.0)) is None
    assert known(layers.BatchNormalization()) is None
