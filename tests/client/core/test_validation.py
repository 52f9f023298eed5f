"""What is refused before it is sent, in one sentence for each kind of mistake."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import Client, InvalidInput
from sample_images import PICTURES, png

REFUSED = [
    (PICTURES[:, :14], r"images of shape \(30, 14, 28\): fashion takes \[N, 28, 28\]"),
    ([*PICTURES[:7], PICTURES[7][:9], *PICTURES[8:]], r"image 7 has shape \(9, 28\): fashion takes \[28, 28\]"),
    (PICTURES.astype(int) + 300, "pixels run from 300 to 329: give uint8 0..255 or floats 0..1"),
    (PICTURES - 0.5, "pixels run from -0.5 to 28.5"),
    (PICTURES + 0.5, "float pixels run to 29.5 and are not whole"),
    (np.full((1, 28, 28), np.nan), "pixels run from nan to nan"),
    (PICTURES.astype(complex), "images of dtype complex128"),
    ([png(PICTURES[0]), PICTURES[0]], "image 1 is of type ndarray and image 0 is of type bytes: send one kind"),
    (b"GIF89a", "the image cannot be decoded: it is damaged"),
    (b"no image", "the image is neither PNG nor JPEG, nor WebP, GIF, BMP or TIFF"),
    ([png(PICTURES[0]), b"x"], "image 1 is neither PNG nor JPEG"),
    ("no/such.png", r"cannot read no/such.png: No such file"),
    (None, "cannot read images from NoneType"),
    ([[1, 2], [3]], "the lists of numbers do not make one array"),
    ([{}], "cannot read images from a list that begins with dict"),
    ([None], "cannot read images from a list that begins with NoneType"),
    (np.array(3, np.uint8), "cannot read images from an array of one value without a dimension"),
    (np.array(b"x"), "cannot read images from an array of one value without a dimension"),
    (np.ma.masked_equal(PICTURES, 0), r"a masked array cannot be sent: .* array.filled\(0\)"),
    (list(np.ma.masked_equal(PICTURES, 0)), "a masked array cannot be sent"),
    ("a\0b.png", "cannot read a\0b.png: embedded null"),
    ("\ud800.png", "cannot read \ud800.png: .* surrogates not allowed"),
    (Image.new("L", (0, 0)), "the image cannot be written as PNG"),
    ([Image.new("L", (1, 1)), Image.new("L", (0, 0))], "image 1 cannot be written as PNG"),
]


@pytest.mark.parametrize(("images", "message"), REFUSED, ids=[ascii(message[:30]) for _, message in REFUSED])
def test_what_cannot_be_right_is_refused_before_it_is_sent(pixel_model, images, message):
    with pytest.raises(InvalidInput, match=message):
        pixel_model.classify(images)


def test_a_truncated_image_file_is_named_when_pillow_reads_it(pixel_model):
    noise = np.random.default_rng(1).integers(0, 256, (100, 100), np.uint8)
    broken = Image.open(io.BytesIO(png(noise)[:5000]))
    with pytest.raises(InvalidInput, match=r"image 1 cannot be written as PNG: .*truncated"):
        pixel_model.classify([Image.new("L", (28, 28)), broken])


def test_what_once_went_well_is_looked_at_again_where_it_is_no_plain_array(kind, protocol, tmp_path):
    """A shape that was sent before needs no second look, except at what may not hold what it seems to."""
    np.save(tmp_path / "pictures.npy", PICTURES)
    with model_server(Model(FIRST_PIXEL), protocol) as target, opened(kind, target) as client:
        expected = client.classify(PICTURES).indices.tolist()
        mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
        assert client.classify(mapped).indices.tolist() == client.classify(mapped).indices.tolist() == expected
        with pytest.raises(InvalidInput, match="a masked array cannot be sent"):
            client.classify(np.ma.masked_equal(PICTURES, 0))
        with pytest.raises(InvalidInput, match="an array of one value"):
            client.classify(np.array(3, np.uint8))


def test_floats_0_to_1_are_offered_only_where_the_model_takes_them():
    model = Model({"serving_default": FIRST_PIXEL["serving_default"]})
    with model_server(model, "grpc") as target, Client(target) as client:
        for message, images in {
            r"pixels run from -0.5 to 28.5: give uint8 0\.\.255$": PICTURES - 0.5,
            r"are not whole: give whole numbers 0\.\.255$": PICTURES + 0.5,
            r"dtype complex128: give uint8 0\.\.255$": PICTURES.astype(complex),
        }.items():
            with pytest.raises(InvalidInput, match=message):
                client.classify(images)


def test_pixels_for_a_signature_of_strings(kind):
    strings = Signature({"strings": ("DT_STRING", [-1])}, {"y": ("DT_FLOAT", [-1, 2])}, None)
    with model_server(Model({"serving_default": strings, "encoded_images": strings}), "grpc") as target:
        with opened(kind, target) as client, pytest.raises(InvalidInput, match=r"takes string \[\?\], which are no im"):
            client.classify(PICTURES)
        files = pytest.raises(InvalidInput, match=r"'encoded_images' takes string \[\?\]: give PNG or JPEG files")
        with opened(kind, target, signature="encoded_images") as client, files:
            client.classify(PICTURES)


def test_inputs_of_predict_that_cannot_be_sent(kind, protocol):
    signature = Signature({"x": ("DT_STRING", [-1])}, {"y": ("DT_STRING", [-1])}, lambda x: {"y": x})
    numbers = Signature({"x": ("DT_FLOAT", [-1])}, {"y": ("DT_FLOAT", [-1])}, lambda x: {"y": x})
    model = Model({"serving_default": signature, "numbers": numbers})
    with model_server(model, protocol) as target, opened(kind, target) as client:
        for inputs in (None, [], "x"):
            with pytest.raises(InvalidInput, match=r"inputs are of type \w+: give a dict of arrays by input name"):
                client.predict(inputs)
        for strings in (["a", "\ud800"], np.array(["\udcff"])):
            with pytest.raises(InvalidInput, match=r"input 'x' has a string that cannot be sent: .* surrogates"):
                client.predict({"x": strings})
        with pytest.raises(InvalidInput, match="a masked array cannot be sent"):
            client.predict({"x": np.ma.masked_equal([1.0, 2.0], 2)}, signature="numbers")
