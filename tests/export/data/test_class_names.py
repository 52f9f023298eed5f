"""Class names from a list, a file or a folder; what is wrong with them is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag_export.data.class_names import read_class_names


def test_a_list_a_tuple_and_an_array_are_taken_as_they_are():
    for names in (["猫", "狗"], ("猫", "狗"), np.array(["猫", "狗"])):
        assert read_class_names(names) == ("猫", "狗")


def test_names_with_commas_between_them_are_a_list():
    assert read_class_names("cat, dog,bird") == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.txt", "cat\ndog\n短靴\n"),
        ("windows.txt", "\ufeffcat\r\ndog\r\n短靴"),
        ("list.json", '["cat", "dog", "短靴"]'),
        ("by-index.json", '{"1": "dog", "0": "cat", "2": "短靴"}'),
        ("by-name.json", '{"短靴": 2, "cat": 0, "dog": 1}'),
    ],
)
def test_a_file_holds_the_names(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode())
    for path in (tmp_path / name, str(tmp_path / name)):
        assert read_class_names(path) == ("cat", "dog", "短靴")


def test_the_folders_of_a_data_set_are_the_names(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert read_class_names(tmp_path) == ("a", "b")
    for name in ("train/x", "train/y", "test/x"):
        (tmp_path / name).mkdir(parents=True)
    assert read_class_names(tmp_path) == ("x", "y")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "needs two class names or more, and these are 'a'"),
        ([], "these are none"),
        (["a", "b", "a"], "class names 0 and 2 are both 'a'"),
        (["a", ""], "class name 1 is empty"),
        (["a", " \t"], "class name 1 is empty"),
        (["a", "b\x1b[31m"], "contains the control character '\\x1b'"),
        (["a", "b\u2028c"], "contains the control character '\\u2028'"),
        (["a", "b\ud800"], "contains the control character '\\ud800'"),
        (["a", 5], "class name 1 is 5: it must be text"),
        (["a", "b" * 1001], "has 1,001 characters"),
        ({"a": 0, "b": 1}, "must be in label order, which a dict does not have"),
        ({"a", "b"}, "must be in label order, which a set does not have"),
        ("names.txt", "there is no file or folder names.txt"),
    ],
)
def test_wrong_names_are_one_sentence(names, message):
    with pytest.raises(InvalidInput) as error:
        read_class_names(names)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"cat\n\ndog\n", "line 2 of"),
        ("x.txt", b"", "line 1 of"),
        ("x.txt", "Möwe\nSpatz".encode("latin-1"), "is not UTF-8 text (byte 1)"),
        ("x.json", b"[", "is not JSON"),
        ("x.json", b"[" * 100_000, "is not JSON"),
        ("x.json", b"3", "is not a list of class names"),
        ("x.json", json.dumps({"0": "a", "2": "b"}).encode(), "with every index from 0"),
        ("x.json", json.dumps({"a": 0, "b": 0}).encode(), "with every index from 0"),
        ("x.json", json.dumps([["n01", "a"], "b"]).encode(), "must be text"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        read_class_names(path)
    assert message in str(error.value)


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.txt"
    with path.open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(InvalidInput, match="has 10,000,001 bytes"):
        read_class_names(path)


def test_a_folder_without_folders_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="has no folders"):
        read_class_names(Path(tmp_path))
