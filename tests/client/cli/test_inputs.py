"""The images that `hangtag classify` is given: names of every kind, in every way, and the same names in its rows."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag.cli.inputs import Array, find
from support import HANGTAG, free_port

ODD = [b"latin\xff.png", "\u2028.png".encode(), b"two\nlines.png", b"plain.png"]  # names, sorted by no rule


@pytest.fixture(scope="module")
def target():
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        yield target


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A picture of each of ODD, of the class of its place there."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(ODD):
        Image.fromarray(np.full((28, 28), number, np.uint8)).save(os.fsdecode(name))
    return tmp_path


def classify(target, *arguments, content=b"", environment=None):
    return subprocess.run(
        [*HANGTAG, "classify", *arguments, "--target", target],
        input=content,
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | (environment or {}),
    )


@pytest.mark.parametrize("where", ["standard output", "file"])
@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_names_come_out_as_the_bytes_that_they_are(target, folder, form, where):
    """No UTF-8, line separators, newlines: CSV holds their bytes, JSON what json.loads makes the same name of."""
    flags = [*([] if form == "table" else [f"--{form}"]), *(["--output=rows"] if where == "file" else [])]
    done = classify(target, *ODD, *flags, environment={"PYTHONIOENCODING": "utf-8"})
    assert (done.returncode, done.stderr) == (0, b"")
    text = (folder / "rows").read_bytes() if where == "file" else done.stdout
    if form == "table":
        assert [line.split(b"  ")[0].rstrip() for line in text.splitlines()] == [
            b"latin\xff.png",
            rb"\u2028.png",
            rb"two\nlines.png",
            b"plain.png",
        ]
        return
    if form == "csv":
        lines = text.decode("utf-8", "surrogateescape").split("\n")
        found = [row[0] for row in csv.reader(line + "\n" for line in lines[1:]) if row]
    else:
        found = [json.loads(line)["image"] for line in text.decode("ascii").splitlines()]
    assert [os.fsencode(name) for name in found] == ODD


def test_standard_input_names_any_file_but_one_with_a_newline(target, folder):
    """One name a line, of any bytes; lines that Windows wrote end in a carriage return."""
    content = b"\xef\xbb\xbflatin\xff.png\n\n" + "\u2028.png".encode() + b"\r\nplain.png"
    done = classify(target, "-", "--json", content=content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["class 0", "class 1", "class 3"]


NOT_READ = [
    (b"P6\x01\x00\x01\x00", "standard input is neither an image, nor .npy or .npz, nor the names of files"),
    (b"x" * 5000, "File name too long"),
    (b"\n \n", "standard input is empty"),
    (b"gone\xff.png", r"cannot read gone\udcff.png: no such file or folder"),
]


@pytest.mark.parametrize(("content", "message"), NOT_READ, ids=[message[:30] for _, message in NOT_READ])
def test_standard_input_that_names_nothing_is_one_sentence(content, message):
    done = classify(f"127.0.0.1:{free_port()}", "-", content=content)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_standard_input_without_an_end_is_refused():
    """An image or names of files would not be longer."""
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run([*HANGTAG, "classify", "-"], stdin=endless, capture_output=True, timeout=120, check=False)
    assert done.returncode == 2
    assert b"standard input is too large, more than 100 MB: name a file" in done.stderr


def test_endings_are_known_in_capitals_too(tmp_path):
    with (tmp_path / "X.NPY").open("wb") as file:
        np.save(file, np.zeros((3, 4, 4), np.uint8))
    with (tmp_path / "X.NPZ").open("wb") as file:
        np.savez(file, images=np.zeros((2, 4, 4), np.uint8))
    (array,), (archive,) = find([str(tmp_path / "X.NPY")]), find([str(tmp_path / "X.NPZ")])
    assert isinstance(array, Array)
    assert isinstance(array.array, np.memmap)
    assert (len(array), len(archive)) == (3, 2)


def test_a_folder_named_like_a_picture_is_looked_into_and_no_picture(tmp_path):
    (tmp_path / "x.png").mkdir()
    for name in ("a.png", "x.png/b.JPG"):
        (tmp_path / name).touch()
    (source,) = find([str(tmp_path)])
    assert source.names == [str(tmp_path / "a.png"), str(tmp_path / "x.png" / "b.JPG")]


def test_a_deep_pattern_enters_no_folder_through_a_link(tmp_path, monkeypatch):
    """Two links that lead back would otherwise name each picture more often than can be counted."""
    for name in ("a[1]/b/deep.png", "a[1]/b/b/twice.png", ".hidden/no.png", "top.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for link in ("back", "b/again"):
        (tmp_path / "a[1]" / link).symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = ["a[1]/b/b/twice.png", "a[1]/b/deep.png"]
    for pattern, names in {
        "**/*.png": [*found, "top.png"],
        f"{tmp_path}/**/*.png": [f"{tmp_path}/{name}" for name in [*found, "top.png"]],
        "a*/**/b/**/*.png": found,
        "a*/b/*.png": found[1:],
    }.items():
        (source,) = find([pattern])
        assert source.names == names
