"""Images of every kind, for models of every input: `pixels` says which values a model of another origin takes."""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import InvalidInput, fashion_mnist
from hangtag.config.class_names import read_class_names
from hangtag.images.input import read
from hangtag.images.pixels import scaled
from hangtag.photo import prepare_photo

NAMES = ["red", "green", "blue"]
RANDOM = np.random.default_rng(0)
BLACK = np.zeros((3, 28, 28), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 8, 9, 3), np.uint8)


def png(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def colour_model(row: list[int], seen: list[np.ndarray], **outputs) -> Model:
    """Keeps the images that it is sent; each one's probabilities are those of its mean colour."""

    def run(image_input: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(image_input)
        axes = (2, 3) if row[0] == 3 else (1, 2)
        means = image_input.mean(axis=axes) * np.ones(3)  # a grey model has three classes too
        return {"output_0": (np.abs(means) / np.abs(means).sum(axis=1, keepdims=True)).astype("f4")}

    signature = Signature({"image_input": ("DT_FLOAT", [-1, *row])}, {"output_0": ("DT_FLOAT", [-1, 3])}, run)
    return Model({"serving_default": signature}, name="other")


@pytest.mark.parametrize("pixels", ["0..1", "0..255", "-1..1", "imagenet", "caffe"])
@pytest.mark.parametrize("row", [[8, 9, 3], [3, 8, 9]], ids=["channels last", "channels first"])
def test_arrays_files_and_pil_images_reach_a_model_of_floats_alike(kind, protocol, pixels, row):
    seen: list[np.ndarray] = []
    expected = scaled(COLOUR, pixels, -1)
    if row[0] == 3:
        expected = expected.transpose(0, 3, 1, 2)
    forms = (COLOUR, list(COLOUR), [png(image) for image in COLOUR], [Image.fromarray(image) for image in COLOUR])
    with (
        model_server(colour_model(row, seen), protocol) as target,
        opened(kind, target, model="other", labels=NAMES, pixels=pixels) as client,
    ):
        results = [client.classify(form) for form in forms]
        streamed = list(client.classify_stream(forms))
        one = client.classify(COLOUR[0])
    for images in seen[:4]:
        assert np.allclose(images, expected, atol=1e-5)
    for result in (*results, *streamed):
        assert np.array_equal(result.probabilities, results[0].probabilities)
    assert np.array_equal(one.probabilities, results[0].probabilities[:1])


def test_floats_go_as_they_are_and_are_taken_in_any_precision(kind, protocol):
    seen: list[np.ndarray] = []
    with (
        model_server(colour_model([8, 9, 3], seen), protocol) as target,
        opened(kind, target, model="other", labels=NAMES, pixels="-1..1") as client,
    ):
        for dtype in ("f2", "f4", "f8"):
            client.classify((COLOUR / 256).astype(dtype))
        with pytest.raises(InvalidInput, match="float64 from 0 to 1e\\+300"):
            client.classify(np.array([[[[0, 0, 1e300]] * 9] * 8]))
        with pytest.raises(
            InvalidInput, match=r"converts whole numbers 0\.\.255, but the images are int64 from 0 to 256"
        ):
            client.classify(np.array([[[[0, 0, 256]] * 9] * 8]))
    assert all(np.allclose(images, COLOUR / 256) for images in seen)


def test_grey_arrays_and_files_of_any_form_with_a_model_of_one_channel(kind):
    seen: list[np.ndarray] = []
    grey = COLOUR[..., 0]
    forms = (grey, grey[..., None], list(grey), grey[0], [png(image) for image in grey], Image.fromarray(grey[0]))
    with (
        model_server(colour_model([8, 9, 1], seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES, pixels="0..255") as client,
    ):
        for form in forms:
            client.classify(form)
        with pytest.raises(InvalidInput, match=r"images of shape \(6, 8, 9, 3\): other takes \[N, 8, 9, 1\]"):
            client.classify(COLOUR)
    assert all(np.array_equal(images[..., 0], grey[: len(images)]) for images in seen)


def test_a_grey_file_with_a_colour_model(kind):
    seen: list[np.ndarray] = []
    with (
        model_server(colour_model([8, 9, 3], seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES, pixels="0..255") as client,
    ):
        client.classify(png(COLOUR[0, ..., 0]))
    assert np.array_equal(seen[0][0], np.stack([COLOUR[0, ..., 0]] * 3, -1))


def test_files_of_several_sizes_with_a_model_of_open_size(kind, protocol):
    """In the order they were given, all by one version, though a new one comes in between."""
    seen: list[np.ndarray] = []
    model = colour_model([-1, -1, 3], seen)
    model.version = lambda number: 1 if number < 2 else 2
    sizes = [(4, 5), (6, 7), (4, 5), (8, 3)]
    images = [np.full((*size, 3), 0, np.uint8) for size in sizes]
    for place, image in enumerate(images):
        image[..., place % 3] = 200
    done: list[tuple[int, int]] = []
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=NAMES, pixels="0..1", timeout=60) as client,
    ):
        client.classify(images[0])
        result = client.classify([png(image) for image in images], progress=lambda *counts: done.append(counts))
        assert result.labels.tolist() == ["red", "green", "blue", "red"]
        assert result._repr_html_().count("<img") == 4
        arrays = client.classify(images)
        assert arrays.labels.tolist() == result.labels.tolist()
    assert sorted(len(images) for images in seen[1:4]) == [1, 1, 2]  # they arrive in any order
    assert done[-1] == (4, 4)


def files_model(seen: list[bytes]) -> Model:
    def run(image_bytes: np.ndarray) -> dict[str, np.ndarray]:
        files = [base64.b64decode(file["b64"]) if isinstance(file, dict) else file for file in image_bytes.tolist()]
        seen.extend(files)
        return {"probabilities": np.eye(3, dtype="f4")[[len(file) % 3 for file in files]]}

    signature = Signature({"image_bytes": ("DT_STRING", [-1])}, {"probabilities": ("DT_FLOAT", [-1, 3])}, run)
    return Model({"serving_default": signature}, name="other")


def test_files_with_a_model_whose_own_input_is_bytes(kind, protocol):
    seen: list[bytes] = []
    files = [png(image, "JPEG") for image in COLOUR]
    with (
        model_server(files_model(seen), protocol) as target,
        opened(kind, target, model="other", labels=NAMES) as client,
    ):
        result = client.classify(files)
        with pytest.raises(InvalidInput, match="takes string"):
            client.classify(COLOUR)
    assert seen == files
    assert result.indices.tolist() == [len(file) % 3 for file in files]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_sent_upright(kind, orientation, tmp_path):
    """To models that decode themselves and to those that take arrays; from a path, bytes and a PIL image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:10, :20] = 255
    file = png(picture, "JPEG", exif=exif, quality=95)
    (tmp_path / "photo.jpg").write_bytes(file)
    with Image.open(io.BytesIO(file)) as opened_file:
        upright = np.asarray(ImageOps.exif_transpose(opened_file))
    seen: list = []
    forms = (file, tmp_path / "photo.jpg", Image.open(io.BytesIO(file)))
    with (
        model_server(files_model(seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES) as client,
    ):
        for form in forms:
            client.classify(form)
    for sent in seen:
        with Image.open(io.BytesIO(sent)) as decoded:
            assert np.array_equal(np.asarray(decoded), upright)
            assert decoded.getexif().get(0x0112, 1) == 1
    arrays: list[np.ndarray] = []
    with (
        model_server(colour_model([40, 40, 3], arrays), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES, pixels="0..255") as client,
    ):
        client.classify(file)
    assert np.array_equal(arrays[0][0], upright)


def test_without_pillow_a_sideways_photograph_is_a_warning(kind, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    file, seen = png(COLOUR[0], "JPEG", exif=exif), []
    with (
        model_server(files_model(seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES) as client,
        monkeypatch.context() as patch,
    ):
        patch.setattr("hangtag.optional._complete", set())
        patch.setitem(sys.modules, "PIL.Image", None)
        with pytest.warns(
            UserWarning, match=r"stored sideways and is sent unchanged: .* pip install 'hangtag\[images\]'"
        ):
            client.classify(file)
    assert seen == [file]


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_converted(kind, form):
    image = np.zeros((8, 9, 3), np.uint8)
    image[:4] = 255
    options = {"lossless": True} if form == "WEBP" else {}
    file, seen = png(image, form, **options), []
    with (
        model_server(files_model(seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES) as client,
    ):
        client.classify(file)
        with pytest.raises(InvalidInput, match=r"the image cannot be (decoded|written as PNG)"):
            client.classify(file[: len(file) // 3])
    assert seen[0].startswith(b"\x89PNG")
    with Image.open(io.BytesIO(seen[0])) as decoded:
        assert np.array_equal(np.asarray(decoded.convert("RGB")), image)


def test_sixteen_bits_are_scaled_and_not_cut_off(kind):
    seen: list[np.ndarray] = []
    deep = (COLOUR[0, ..., 0].astype(np.uint16) * 257).astype(np.uint16)
    with (
        model_server(colour_model([8, 9, 1], seen), "grpc") as target,
        opened(kind, target, model="other", labels=NAMES, pixels="0..255") as client,
    ):
        client.classify(png(deep))
    assert np.array_equal(seen[0][0, ..., 0], COLOUR[0, ..., 0])


def test_a_model_that_scales_itself_refuses_another_range(kind):
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        with opened(kind, target, pixels="0..255") as client:
            client.classify(BLACK)
        refused = pytest.raises(InvalidInput, match=r"takes uint8 pixels .* itself: leave out pixels='0\.\.1'")
        with opened(kind, target, pixels="0..1") as client, refused:
            client.classify(BLACK)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_photograph_for_a_model_of_fashion_mnist_is_a_hint_once(kind, language):
    plain, labels = FIRST_PIXEL["serving_default"], FIRST_PIXEL["labels"]
    names = np.array([name.encode() for name in fashion_mnist.CLASS_NAMES], object)
    model = Model(
        {
            **FIRST_PIXEL,
            "encoded_images": Signature(
                {"images": ("DT_STRING", [-1])},
                plain.outputs,
                lambda images: {"probabilities": np.full((len(images), 10), 0.1, "f4")},
            ),
            "labels": Signature(labels.inputs, labels.outputs, lambda index: {"class_name": names[index]}),
        }
    )
    small, photo = (png(np.full((*size, 3), 250, np.uint8), "JPEG") for size in ((28, 28), (300, 200)))
    with model_server(model, "grpc") as target, opened(kind, target, language=language) as client:
        client.classify(small)
        with pytest.warns(UserWarning, match="prepare='photo'"):
            client.classify(photo)
        client.classify([photo, photo])
        client.classify(photo, prepare="photo")


@pytest.mark.parametrize("what", ["pipe", "device"])
def test_a_file_that_never_ends_is_an_error_soon(what, tmp_path):
    """A pipe that nobody writes to would be waited for, and a device would fill the memory."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    path = path if what == "pipe" else Path("/dev/zero")
    with pytest.raises(InvalidInput, match=r"is neither PNG nor JPEG|more than 100 MB"):
        read(path)
    with pytest.raises(InvalidInput, match="cannot read"):
        prepare_photo(path)
    with pytest.raises(InvalidInput, match=r"is empty|is too large for class names"):
        read_class_names(path)


def test_a_pipe_with_a_writer_is_read_to_its_end(tmp_path):
    """As of a shell's <(command)."""
    reader, writer = os.pipe()
    file = png(COLOUR[0])
    os.write(writer, file[:20])
    rest = threading.Timer(0.1, lambda: (os.write(writer, file[20:]), os.close(writer)))
    rest.start()
    assert read(f"/dev/fd/{reader}").files == [file]
    os.close(reader)
    rest.join()
