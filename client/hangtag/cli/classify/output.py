"""The output of `hangtag classify`: a table, JSON lines or CSV, with one row per image."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TextIO

from ...results import Classification
from ..terminal import one_line

JSON_KEYS = ("image", "label", "score", "top", "model_version")


class Writer(Protocol):
    """Writes the rows of one result."""

    def write(self, names: Sequence[str], result: Classification) -> None:
        """Write one row for each image."""


class Table:
    """Aligned text; `width` is the length of the longest name."""

    def __init__(self, file: TextIO, top: int, width: int) -> None:
        self._file, self._top, self._width = file, top, width

    def write(self, names: Sequence[str], result: Classification) -> None:
        """Write the name, then the best classes with their probabilities."""
        for name, row in zip(names, result, strict=True):
            best = "   ".join(f"{label} {score:.1%}" for label, score in row.top(self._top))
            self._file.write(one_line(f"{name:{self._width}}  {best}") + "\n")


class JsonLines:
    """One object per image, in ASCII, so that file names that are not UTF-8 can be written and read again."""

    def __init__(self, file: TextIO, top: int) -> None:
        self._file, self._top = file, top

    def write(self, names: Sequence[str], result: Classification) -> None:
        """Write the values of JSON_KEYS."""
        for name, row in zip(names, result, strict=True):
            top = [{"label": label, "score": score} for label, score in row.top(self._top)]
            values = (name, row.label, row.score, top, result.model_version)
            self._file.write(json.dumps(dict(zip(JSON_KEYS, values, strict=True))) + "\n")


class Csv:
    """One line per image, with the best classes side by side."""

    def __init__(self, file: TextIO, top: int, *, header: bool) -> None:
        self._file, self._top = file, top
        if header:
            file.write(csv_line(csv_header(top)))

    def write(self, names: Sequence[str], result: Classification) -> None:
        """Write the columns of the header; if the model has fewer classes, the last columns are empty."""
        version = "" if result.model_version is None else result.model_version
        missing = [""] * (2 * max(0, self._top - len(result.class_names)))
        for name, row in zip(names, result, strict=True):
            best: list[Any] = [cell for label, score in row.top(self._top) for cell in (label, f"{score:.6g}")]
            self._file.write(csv_line([name, version, *best, *missing]))


def csv_header(top: int) -> list[str]:
    """The names of the columns."""
    more = [f"{column}_{rank}" for rank in range(2, top + 1) for column in ("label", "score")]
    return ["image", "model_version", "label", "score", *more]


def csv_line(cells: Iterable[object]) -> str:
    r"""One row, which ends in "\n".

    >>> csv_line(["a,b", 1])
    '"a,b",1\n'
    """
    import csv  # here, because most runs write another format

    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # with this ending it quotes "\r" too
    return line.getvalue().removesuffix("\r\n") + "\n"


def make(kind: str, file: TextIO, top: int, *, width: int, header: bool) -> Writer:
    """The writer of a format."""
    if kind == "json":
        return JsonLines(file, top)
    return Csv(file, top, header=header) if kind == "csv" else Table(file, top, width)
