"""Reads class names in label order from a list, a text or JSON file, or the folders of a data set."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hangtag.config.class_names import read_class_file
from hangtag.errors import InvalidInput

TRAINING = ("train", "training", "training_set", "train_set", "trainset")
"""Names that the folder of the training images may have, in a data set that is divided into parts."""

_LONGEST_NAME = 1000  # characters
_EMOJI_JOINER = "\u200d"  # joins two emojis to one, which looks different
_REFUSED = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, surrogates, line separators
_BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # reorder the text after a name


def read_class_names(source: Any) -> tuple[str, ...]:
    """The class names in `source`, in label order. Raises InvalidInput.

    `source` is a sequence of strings, or the path of

    - a text or JSON file, as `hangtag.config.class_names.read_class_file` reads them,
    - a folder with one folder per class, in `train/` if that exists; their sorted names are the class names.

    A string that is not a path and contains a comma is a list: ``"cat,dog"``.
    """
    if isinstance(source, (str, Path)):
        names = _from_text(source)
    elif isinstance(source, Sequence) or hasattr(source, "tolist"):
        names = [str(name) if isinstance(name, str) else name for name in getattr(source, "tolist", lambda: source)()]
    else:
        raise InvalidInput(
            f"class names must be in label order, which a {type(source).__name__} does not have: give a list, "
            "or the path of a text file, a JSON file or a folder with one subfolder per class"
        )
    check_class_names(names)
    return tuple(names)


def check_class_names(names: Sequence[Any]) -> None:
    """Raise InvalidInput unless these are at least two printable names that look different."""
    for number, name in enumerate(names):
        fault = fault_of(name)
        if fault is not None:
            raise InvalidInput(f"class name {number} {fault}")
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        same = first.setdefault(look(name), number)
        if same != number:
            raise InvalidInput(f"class names {same} and {number} are both {look(name)!r}: they must differ")
    if len(names) < 2:
        listed = ", ".join(map(repr, names)) or "none"
        raise InvalidInput(f"a classifier needs two class names or more, and these are {listed}")


def fault_of(name: Any) -> str | None:
    """Why `name` cannot be a class name, as the end of a sentence; None if it can."""
    if not isinstance(name, str):
        return f"is {name!r}: it must be text"
    if not name.strip():
        return "is empty: give every class a name"
    if len(name) > _LONGEST_NAME:
        return f"has {len(name):,} characters: at most {_LONGEST_NAME:,} are allowed"
    refused = next(filter(_is_refused, name), None)
    if refused is not None:
        return f"is {name!a}, which contains the control character {refused!a}: remove it"
    return None if look(name) else f"is {name!a}, which cannot be seen: give every class a name"


def look(name: str) -> str:
    """The visible form of a name: readers cannot distinguish names with the same form."""
    visible = "".join(each for each in name if unicodedata.category(each) != "Cf" or each == _EMOJI_JOINER)
    return unicodedata.normalize("NFC", visible).strip()


def _is_refused(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED or unicodedata.bidirectional(character) in _BIDIRECTIONAL


def folder_names(folder: Path) -> list[str]:
    """The sorted class names of the folders in `folder`."""
    return sorted(class_name(path) for path in class_folders(folder))


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted by name; each is a class."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def class_name(folder: Path) -> str:
    """The name of a folder in Unicode's composed form, as people type it; macOS decomposes letters with accents."""
    return unicodedata.normalize("NFC", folder.name)


def is_hidden(name: str) -> bool:
    """Whether a folder with this name was made by the system, not by the user."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")


def one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first folder in `folder` with one of these names, in upper or lower case, that has folders in it."""
    by_name = {path.name.lower(): path for path in class_folders(folder)}
    return next((by_name[name] for name in names if name in by_name and class_folders(by_name[name])), None)


def _from_text(source: str | Path) -> Sequence[str]:
    path = Path(source)
    if not str(source):
        raise InvalidInput("the class names are empty: give names separated by commas, or a file or folder")
    try:
        if path.is_dir():
            return _from_folder(path)
        if path.is_file():
            return read_class_file(path)
    except OSError as error:  # among others, if a list is too long for a path
        if "," not in str(source):
            raise InvalidInput(f"cannot read the class names from {str(source)[:200]}: {error.strerror}") from error
    if "," in str(source):
        return [name.strip() for name in str(source).split(",")]
    raise InvalidInput(
        f"there is no file or folder {source} with class names: give a text or JSON file, a folder with one folder a "
        "class, or the names separated by commas"
    )


def _from_folder(folder: Path) -> list[str]:
    parent = one_of(folder, TRAINING) or folder
    names = folder_names(parent)
    if not names:
        raise InvalidInput(f"{parent} has no folders: class names are the names of a data set's folders, one per class")
    return names
