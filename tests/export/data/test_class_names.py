"""Class names from a list, a file or a folder; what is wrong with them is one sentence."""

from __future__ import annotations

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


def test_a_file_holds_the_names(tmp_path):
    """As for the client: tests/client/test_class_names.py has its formats, and what is wrong with one."""
    file = tmp_path / "names.json"
    file.write_text('{"短靴": 2, "cat": 0, "dog": 1}', encoding="utf-8")
    for path in (file, str(file)):
        assert read_class_names(path) == ("cat", "dog", "短靴")
    file.write_text("[1, 2]")
    with pytest.raises(InvalidInput, match="not a list of class names"):
        read_class_names(file)


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
        (["a", "\u200b\ufeff"], "which cannot be seen: give every class a name"),
        (["a", "b", "a\u200b"], "class names 0 and 2 are both 'a'"),
        (["a", "b\x1b[31m"], "contains the control character '\\x1b'"),
        (["a", "b\u2028c"], "contains the control character '\\u2028'"),
        (["a", "b\ud800"], "contains the control character '\\ud800'"),
        (["a", "b\u202ec"], "contains the control character '\\u202e'"),
        (["caf\u00e9", "cafe\u0301"], "class names 0 and 1 are both"),
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


def test_a_folder_without_folders_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="has no folders"):
        read_class_names(Path(tmp_path))
