"""Class names of the caller's: a list, a text file, a JSON file; what has no order is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag.config.class_names import read_class_names


@pytest.mark.parametrize(
    "given", [["cat", "狗"], ("cat", "狗"), np.array(["cat", "狗"])], ids=["list", "tuple", "array"]
)
def test_sequences(given):
    assert read_class_names(given) == ("cat", "狗")
    assert all(type(name) is str for name in read_class_names(given))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "cat\n狗"),
        ("names.txt", "\ufeffcat\r\n狗\r\n"),
        ("names", "cat\n狗\n\n"),
        ("names.json", '["cat", "狗"]'),
        ("names.JSON", '{"1": "狗", "0": "cat"}'),
        ("names.json", '{"狗": 1, "cat": 0}'),
    ],
)
def test_files(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read_class_names(tmp_path / name) == read_class_names(str(tmp_path / name)) == ("cat", "狗")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dog": 1, "cat": 0}, "labels is a dict, .* sorted\\(labels, key=labels.get\\)"),
        ({"dog", "cat"}, "labels is a set, which has no order"),
        (frozenset({"dog"}), "labels is a set"),
        (["cat", 1], "not a list of class names"),
        (5, "of type int"),
        ("gone.txt", "cannot read the class names in gone.txt: No such file"),
        ("x" * 5000, "cannot read the class names in x+: File name too long"),
        ("a\0b", "cannot read the class names in"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        read_class_names(given)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", "line 1 of .* is empty: it must hold the name of class 0"),
        ("x.txt", b"\ncat", "line 1 of"),
        ("x.txt", b"cat\r\n\r\ndog", "line 2 of"),
        ("x.txt", b"caf\xe9", r"is not UTF-8 text \(byte 3\)"),
        ("x.json", b"3", "is not a list of class names"),
        ("x.json", b"[", "is not JSON"),
        ("x.json", b"[" * 100_000, "is not JSON"),
        ("x.json", b'{"0": "cat", "0": "dog", "1": "cow"}', "it has the key '0' twice"),
        ("x.json", b"[]", "is not a list of class names"),
        ("x.json", b'["cat", 1]', "is not a list of class names"),
        ("x.json", b'{"cat": false, "dog": true}', "is not a list of class names"),
        ("x.json", b'{"cat": 0, "dog": 2}', "a name for each index from 0"),
        ("x.json", b'{"cat": 0, "dog": 0}', "a name for each index from 0"),
        ("x.json", b'{"0": "cat", "2": "dog"}', "a name for each index from 0"),
        ("x.json", json.dumps({"cat": "0"}).encode(), "a name for each index from 0"),
    ],
)
def test_files_that_hold_no_names(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_class_names(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "x.txt").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(InvalidInput, match="is too large for class names: 64 MiB are allowed"):
        read_class_names(tmp_path / "x.txt")
