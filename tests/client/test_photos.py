"""Photographs, made to look like Fashion-MNIST."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import Client, InvalidInput
from hangtag.photo import prepare_photo, prepared


def test_a_photograph_becomes_what_fashion_mnist_looks_like(tmp_path):
    """Trimmed, its longest edge 28 pixels, in the centre, light on dark and grey."""
    photo = Image.new("RGB", (300, 400), "white")
    ImageDraw.Draw(photo).rectangle((100, 50, 159, 289), fill=(200, 30, 30))
    picture = prepare_photo(photo)
    assert (picture.shape, picture.dtype) == ((28, 28), np.uint8)
    rows, columns = np.flatnonzero(picture.max(axis=1) > 64), np.flatnonzero(picture.max(axis=0) > 64)
    assert (rows[0], rows[-1]) == (0, 27)  # 240 pixels, the longest edge, are 28 now
    assert len(columns) == 7  # and 60 are 7
    assert columns[0] == (28 - 7) // 2
    assert picture[:, 0].max() == 0
    assert picture[14, 14] > 128
    file = tmp_path / "photo.jpg"
    photo.save(file, quality=95)
    for form in (str(file), file, file.read_bytes(), np.asarray(photo)):
        assert np.abs(prepare_photo(form).astype(int) - picture).mean() < 8  # JPEG blurs the edges
    see_through = photo.convert("RGBA")
    see_through.putalpha(Image.fromarray((np.asarray(photo)[..., 1] < 128).astype(np.uint8) * 255))
    assert (prepare_photo(see_through) == picture).all()
    with pytest.raises(InvalidInput, match="cannot read the photograph"):
        prepare_photo(b"no image")


def test_prepare_photo_in_both_clients(kind):
    photo = Image.new("RGB", (50, 50), "white")
    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, target) as client:
        assert client.classify([photo, photo], prepare="photo").indices.tolist() == [0, 0]
        assert [len(part) for part in client.classify_stream([photo], prepare="photo")] == [1]
        with pytest.raises(InvalidInput, match="'photo' is the only preparation"):
            client.classify(photo, prepare="drawing")


def test_photographs_go_through_the_real_model(server, images):
    """Fashion-MNIST's own pictures, blown up and negated as a shop would show them, keep their class."""
    with Client(server.grpc, timeout=60) as client:
        expected = client.classify(images[:50]).indices
        photos = [Image.fromarray(255 - picture).resize((280, 280)) for picture in images[:50]]
        found = client.classify(photos, prepare="photo").indices
    assert (found == expected).mean() > 0.5


def test_a_batch_of_photographs_may_be_one_array():
    random = np.random.default_rng(0)
    for shape in ((3, 40, 50, 3), (3, 40, 50)):
        photos = random.integers(0, 256, shape).astype(np.uint8)
        assert (prepared(photos, "photo") == [prepare_photo(photo) for photo in photos]).all()
        assert (prepared(photos[0], "photo") == [prepare_photo(photos[0])]).all()
    assert prepared(np.zeros((0, 40, 50, 3), np.uint8), "photo").shape == (0, 28, 28)


def test_photographs_of_more_than_eight_bits_are_scaled_and_not_cut_off():
    photo = np.full((60, 80), 250, np.uint8)
    photo[20:40, 30:50] = np.arange(20) * 8
    deep = [Image.fromarray(photo.astype(np.uint16) * 257), Image.fromarray((photo / 255).astype(np.float32))]
    assert (prepared([photo, *deep], "photo") == prepare_photo(photo)).all()


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ([Image.new("L", (9, 9)), b"no image"], "cannot read photograph 1: it is no image file that Pillow knows$"),
        (b"no image", "cannot read the photograph: it is no image file that Pillow knows$"),
        (["no/such.jpg"], "cannot read no/such.jpg: No such file or directory$"),
        (np.zeros((0, 5, 3), np.uint8), "cannot read the photograph: "),
        (np.zeros((2, 5, 0, 3), np.uint8), "cannot read photograph 0: "),
        ([None], "cannot read photograph 0: "),
    ],
    ids=["bytes in a list", "bytes", "path", "empty", "empty in a batch", "nothing"],
)
def test_a_photograph_that_cannot_be_read_is_named(photos, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        prepared(photos, "photo")
    assert "0x" not in str(caught.value)


def test_edges_near_the_colour_of_any_corner_are_trimmed():
    """A ground that darkens from corner to corner."""
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[:, :40], photo[:, 40:] = 255, 225  # farther apart than what counts as near
    photo[20:40, 30:50] = (10, 20, 30)
    assert (prepare_photo(photo) == prepare_photo(np.ascontiguousarray(photo[20:40, 30:50]))).all()


def test_a_large_photograph_takes_a_few_times_its_own_memory():
    photo = np.full((2000, 3000, 3), 255, np.uint8)
    photo[500:1500, 1000:2000] = 30
    photo[0, 0] = 250  # four corners of four colours
    photo[0, -1] = 251
    photo[-1, 0] = 252
    tracemalloc.start()
    try:
        prepare_photo(photo)
        assert tracemalloc.get_traced_memory()[1] < 6 * photo.nbytes
    finally:
        tracemalloc.stop()
