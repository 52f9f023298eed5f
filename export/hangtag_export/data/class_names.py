"""Class names in label order: a list, a text or JSON file, or the folders of a data set."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput

_LARGEST_FILE = 10_000_000  # bytes
_LONGEST_NAME = 1000  # characters
_REFUSED = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, surrogates, line separators


def read_class_names(source: Any) -> tuple[str, ...]:
    """Class names in label order from what the caller gave. Raises InvalidInput.

    `source` is a sequence of strings, or the path of

    - a text file with one name a line,
    - a JSON file: a list of names, ``{"0": "cat", "1": "dog"}`` or ``{"cat": 0, "dog": 1}``,
    - a folder with one folder a class, in `train/` if there is one; their sorted names are the class names.

    A string that is not a path and contains a comma is a list: ``"cat,dog"``.
    """
    if isinstance(source, (str, Path)):
        names = _from_text(source)
    elif isinstance(source, Sequence) or hasattr(source, "tolist"):
        names = [str(name) if isinstance(name, str) else name for name in getattr(source, "tolist", lambda: source)()]
    else:
        raise InvalidInput(
            f"class names must be in label order, which a {type(source).__name__} does not have: give a list, "
            "or the path of a text file, a JSON file or a folder with one folder a class"
        )
    check_class_names(names)
    return tuple(names)


def check_class_names(names: Sequence[Any]) -> None:
    """Raise InvalidInput unless these are distinct, printable names of at least two classes."""
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidInput(f"class name {number} is {name!r}: it must be text")
        if not name.strip():
            raise InvalidInput(f"class name {number} is empty: give every class a name")
        if len(name) > _LONGEST_NAME:
            raise InvalidInput(
                f"class name {number} has {len(name):,} characters: at most {_LONGEST_NAME:,} are allowed"
            )
        refused = next((character for character in name if unicodedata.category(character) in _REFUSED), None)
        if refused is not None:
            raise InvalidInput(f"class name {number}, {name!a}, contains the control character {refused!a}: remove it")
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if name in first:
            raise InvalidInput(f"class names {first[name]} and {number} are both {name!r}: they must differ")
        first[name] = number
    if len(names) < 2:
        listed = ", ".join(map(repr, names)) or "none"
        raise InvalidInput(f"a classifier needs two class names or more, and these are {listed}")


def _from_text(source: str | Path) -> list[Any]:
    path = Path(source)
    try:
        if path.is_dir():
            return _from_folder(path)
        if path.is_file():
            return _from_file(path)
    except OSError as error:  # also a list too long to be a path
        if "," not in str(source):
            raise InvalidInput(f"cannot read the class names from {source}: {error.strerror}") from error
    if "," in str(source):
        return [name.strip() for name in str(source).split(",")]
    raise InvalidInput(
        f"there is no file or folder {source} with class names: give a text or JSON file, a folder with one folder a "
        "class, or the names with commas between them"
    )


def _from_folder(folder: Path) -> list[str]:
    parent = folder / "train" if (folder / "train").is_dir() else folder
    names = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise InvalidInput(f"{parent} has no folders: class names are the names of a data set's folders, one a class")
    return names


def _from_file(path: Path) -> list[Any]:
    if path.stat().st_size > _LARGEST_FILE:
        raise InvalidInput(f"{path} has {path.stat().st_size:,} bytes: class names take at most {_LARGEST_FILE:,}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}): save the class names as UTF-8") from error
    if path.suffix.lower() == ".json":
        return _from_json(text, path)
    lines = text.rstrip("\r\n").replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InvalidInput(f"line {number} of {path} is empty: it must hold the name of class {number - 1}")
    return [line.strip(" \t") for line in lines]


def _from_json(text: str, path: Path) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        if all(isinstance(index, int) and not isinstance(index, bool) for index in document.values()):
            pairs = [(str(index), name) for name, index in document.items()]
        else:
            pairs = list(document.items())
        by_index = dict(pairs)
        if document and set(by_index) == set(map(str, range(len(pairs)))):
            return [by_index[str(index)] for index in range(len(pairs))]
    raise InvalidInput(
        f'{path} is not a list of class names, nor an object like {{"0": "cat", "1": "dog"}} with every index from 0'
    )
