"""A run that fails because of some images names them, also after others have been classified."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from fake_server import FIRST_PIXEL, Model, Refused, Signature, model_server
from hangtag.core.chunking import GRPC_ROWS
from support import run

BAD = b"\x89PNG\r\n\x1a\n, and nothing more"
COUNT, PLACE = 150, 101  # images, and which of them is bad


def _files(image_bytes):
    if BAD in image_bytes.tolist():
        raise Refused("INVALID_ARGUMENT", "one input cannot be decoded")
    return {"probabilities": np.full((len(image_bytes), 10), 0.1, "f4")}


def _arrays(images):
    if (images == 255).any():
        raise Refused("INVALID_ARGUMENT", "the images are too bright")
    return FIRST_PIXEL["serving_default"].run(images)


@pytest.fixture(scope="module")
def model():
    plain = FIRST_PIXEL["serving_default"]
    files = Signature({"image_bytes": ("DT_STRING", [-1])}, plain.outputs, _files)
    return Model(
        {**FIRST_PIXEL, "serving_default": Signature(plain.inputs, plain.outputs, _arrays), "encoded_images": files}
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """As many pictures, in a folder named `of`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of").mkdir()
    for number in range(COUNT):
        Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "of" / f"{number:03}.png")
    return tmp_path


def failed(*arguments):
    """The one line of a run over bad input."""
    done = run("classify", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line.removeprefix("hangtag: ")


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("bad", [BAD, b""], ids=["the server", "the client"])
def test_the_one_file_that_is_refused_is_named(model, folder, bad, resumed):
    """Among the files of its request, and counted from the first of all; those before it have their rows."""
    flags = ["--output=rows.csv"]
    with model_server(model, "grpc") as target:
        if resumed:
            assert run("classify", "of/0[0-4]*.png", "--target", target, *flags).returncode == 0
            flags.append("--resume")
        (folder / "of" / f"{PLACE:03}.png").write_bytes(bad)
        line = failed("of", "--target", target, *flags)
        (folder / "of" / f"{PLACE:03}.png").unlink()
        rows = (folder / "rows.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == [f"of/{number:03}.png" for number in range(PLACE)]
        assert run("classify", "of", "--target", target, "--output=rows.csv", "--resume").returncode == 0
        assert len((folder / "rows.csv").read_text().splitlines()) == COUNT
    if bad:
        assert line == f"of/{PLACE}.png: {target} says INVALID_ARGUMENT: one input cannot be decoded"
    else:
        assert line == f"of/{PLACE}.png is neither PNG nor JPEG, nor WebP, GIF, BMP or TIFF"


def test_a_file_that_the_client_cannot_decode_is_named(folder):
    """For a model that takes only arrays."""
    (folder / "of" / f"{PLACE:03}.png").write_bytes(BAD)
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        line = failed("of", "--target", target)
    assert line.startswith(f"of/{PLACE}.png: image 0 cannot be decoded: ")


def test_images_of_an_array_are_named_by_the_range_that_went_together(model, folder):
    images = np.zeros((3000, 28, 28), np.uint8)
    images[1500] = 255
    np.save("all.npy", images)
    with model_server(model, "grpc") as target:
        line = failed("of", "all.npy", "--target", target, "--output=rows.csv")
    first, last = GRPC_ROWS, 2 * GRPC_ROWS - 1  # of the second request
    assert (folder / "rows.csv").read_text().count("\n") == 1 + COUNT + first
    assert line == f"{target} says INVALID_ARGUMENT: the images are too bright (all.npy[{first}] to all.npy[{last}])"


def test_all_files_of_a_request_are_named_when_none_is_bad_alone(folder):
    """The search for the bad file ends, and names no good one."""
    refused = []

    def few(image_bytes):
        if len(image_bytes) > 40:
            refused.append(len(image_bytes))
            raise Refused("INVALID_ARGUMENT", "too many at once")
        return _files(image_bytes)

    plain = FIRST_PIXEL["serving_default"]
    files = Signature({"image_bytes": ("DT_STRING", [-1])}, plain.outputs, few)
    with model_server(Model({**FIRST_PIXEL, "encoded_images": files}), "grpc") as target:
        line = failed("of", "--target", target)
    named = re.fullmatch(rf"{target} says INVALID_ARGUMENT: too many at once \(of/(\d+).png to of/(\d+).png\)", line)
    assert named, line
    first, last = map(int, named.groups())
    assert last - first + 1 == refused[0]  # all 150, unless the machine was busy while they were gathered
