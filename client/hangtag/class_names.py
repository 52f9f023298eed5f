"""Class names in label order, from a list or a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InvalidInput

_LARGEST = 64 << 20  # bytes of a file


def read_class_names(labels: Any) -> tuple[str, ...]:
    """The names that `labels` gives. Raises InvalidInput.

    `labels` is a sequence of strings, or the path of a text file with one name a line, or of a JSON file with a list of
    names, ``{"0": "cat", "1": "dog"}`` or ``{"cat": 0, "dog": 1}``.

    >>> read_class_names(["cat", "dog"])
    ('cat', 'dog')
    """
    if isinstance(labels, str | PathLike):
        return _from_file(Path(labels))
    if isinstance(labels, Mapping):
        raise InvalidInput(
            "labels is a dict, whose order may be another than that of the classes: give a list in label order, "
            "for Keras's class_indices sorted(labels, key=labels.get)"
        )
    if isinstance(labels, Set):
        raise InvalidInput("labels is a set, which has no order: give a list of class names in label order")
    if not isinstance(labels, Iterable):
        raise InvalidInput(f"labels is of type {type(labels).__name__}: give a list of class names, or a file's path")
    names = tuple(labels)
    if not all(isinstance(name, str) for name in names):
        raise InvalidInput("labels is no list of class names: give a list of strings")
    return tuple(map(str, names))  # plain strings, from a numpy array too


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"cannot read the class names in {str(path)[:200]}: {reason}") from error
    if len(content) > _LARGEST:
        raise InvalidInput(f"{path} is too large for class names: {_LARGEST >> 20} MiB are allowed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: save the class names as UTF-8, one a line") from error
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    names = tuple(line.strip() for line in text.strip("\r\n").split("\n"))
    if not all(names):
        raise InvalidInput(f"{path} has an empty line, or none at all: give one class name a line")
    return names


def _from_json(path: Path, text: str) -> tuple[str, ...]:
    import json  # only here: most clients read no file

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if isinstance(document, dict):  # by index, as {"0": name} or as {name: 0}
        indices = {index: name for name, index in document.items()} if _are_indices(document.values()) else {}
        indices = indices or {int(index): name for index, name in document.items() if index.isdecimal()}
        document = [indices.get(index) for index in range(len(document))]
    if not (isinstance(document, list) and document and all(isinstance(name, str) for name in document)):
        raise InvalidInput(f"{path} is not a list of class names, nor an object with a name for each index from 0")
    return tuple(document)


def _are_indices(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int) for value in values)
