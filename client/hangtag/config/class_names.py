"""Class names in label order, from a list or a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..images.files import read_file, why_unreadable

_LARGEST = 64 << 20  # bytes of a file


def read_class_names(labels: Any) -> tuple[str, ...]:
    """The names in `labels`, a sequence of strings or the path of a file. Raises InvalidInput.

    >>> read_class_names(["cat", "dog"])
    ('cat', 'dog')
    """
    if isinstance(labels, str | PathLike):
        return read_class_file(Path(labels))
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
        raise InvalidInput("labels is not a list of class names: give a list of strings")
    return tuple(map(str, names))  # plain strings, from a numpy array too


def read_class_file(path: Path) -> tuple[str, ...]:
    """The names in a UTF-8 file of at most 64 MiB. Raises InvalidInput.

    A text file has one name per line. A JSON file has a list of names, ``{"0": "cat", "1": "dog"}`` or
    ``{"cat": 0, "dog": 1}``.
    """
    try:
        content = read_file(path, _LARGEST)
    except (OSError, ValueError) as error:  # ValueError: the name is not allowed
        raise InvalidInput(f"cannot read the class names in {str(path)[:200]}: {why_unreadable(error)}") from error
    if len(content) > _LARGEST:
        raise InvalidInput(f"{path} is too large for class names: {_LARGEST >> 20} MiB are allowed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}): save the class names as UTF-8") from error
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    names = [line.strip(" \t\r") for line in text.rstrip("\r\n").split("\n")]
    if not all(names):
        number = names.index("")
        raise InvalidInput(f"line {number + 1} of {path} is empty: it must hold the name of class {number}")
    return tuple(names)


def _from_json(path: Path, text: str) -> tuple[str, ...]:
    import json  # here, because most clients never need it

    try:
        document = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON with class names: {error}") from error
    if isinstance(document, dict):
        document = _by_index(document)
    if not (isinstance(document, list) and document and all(isinstance(name, str) for name in document)):
        raise InvalidInput(
            f'{path} is not a list of class names, nor an object like {{"0": "cat", "1": "dog"}} with a name for each '
            "index from 0"
        )
    return tuple(document)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object. Raises ValueError for a repeated key; json would silently use the last one."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"it has the key {key[:100]!r} twice")
        members[key] = value
    return members


def _by_index(document: dict[str, Any]) -> list[Any] | None:
    """The names in ``{"0": name}`` or ``{name: 0}``; None unless there is one name for each index from 0."""
    names_first = all(type(index) is int for index in document.values())
    by_index = {str(index): name for name, index in document.items()} if names_first else document
    names = [by_index.get(str(index)) for index in range(len(document))]
    return None if None in names else names
