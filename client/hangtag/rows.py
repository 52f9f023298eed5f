"""The output of `hangtag classify`: a table, JSON lines or CSV, a row an image, and where an earlier run left off."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from .errors import InvalidInput
from .results import Classification

FORMATS = ("table", "json", "csv")


class Writer(Protocol):
    """Writes the rows of one result."""

    def write(self, names: Sequence[str], result: Classification) -> None:
        """One row for each image."""


class Table:
    """For people; `width` is that of the longest name."""

    def __init__(self, file: TextIO, top: int, width: int) -> None:
        self._file, self._top, self._width = file, top, width

    def write(self, names: Sequence[str], result: Classification) -> None:
        """Name, then the best classes with their probabilities."""
        for name, row in zip(names, result, strict=True):
            best = "   ".join(f"{label} {score:.1%}" for label, score in row.top(self._top))
            self._file.write(f"{name:{self._width}}  {best}\n")


class JsonLines:
    """One object an image."""

    def __init__(self, file: TextIO, top: int) -> None:
        self._file, self._top = file, top

    def write(self, names: Sequence[str], result: Classification) -> None:
        """``image``, ``label``, ``score``, ``top`` and ``model_version``."""
        for name, row in zip(names, result, strict=True):
            top = [{"label": label, "score": score} for label, score in row.top(self._top)]
            document = {"image": name, "label": row.label, "score": row.score, "top": top}
            line = json.dumps(document | {"model_version": result.model_version}, ensure_ascii=False)
            self._file.write(line + "\n")


class Csv:
    """One line an image, the best classes side by side."""

    def __init__(self, file: TextIO, top: int, *, header: bool) -> None:
        self._writer, self._top = csv.writer(file, lineterminator="\n"), top
        if header:
            more = [f"{word}_{rank}" for rank in range(2, top + 1) for word in ("label", "score")]
            self._writer.writerow(["image", "model_version", "label", "score", *more])

    def write(self, names: Sequence[str], result: Classification) -> None:
        """The columns that the header names."""
        version = "" if result.model_version is None else result.model_version
        for name, row in zip(names, result, strict=True):
            best: list[Any] = [cell for label, score in row.top(self._top) for cell in (label, f"{score:.6g}")]
            self._writer.writerow([name, version, *best])


def make(kind: str, file: TextIO, top: int, *, width: int, header: bool) -> Writer:
    """The writer of a format."""
    if kind == "json":
        return JsonLines(file, top)
    return Csv(file, top, header=header) if kind == "csv" else Table(file, top, width)


# ---- going on after an interruption


def rows_done(path: Path, kind: str, name_of: Callable[[int], str], total: int) -> int:
    """How many images `path` has rows of; a last row that was cut off is removed. They must be the first images."""
    if kind == "table":
        raise InvalidInput("--resume needs rows that can be read back: add --json or --csv")
    done, whole = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            if kind == "csv" and number == 0:
                continue
            if done >= total or _image(line, kind) != name_of(done):
                raise InvalidInput(f"{path} has rows of other images, from row {done + 1} on: give another --output")
            done += 1
    os.truncate(path, whole)
    return done


def _image(line: bytes, kind: str) -> Any:
    try:
        text = line.decode()
        return json.loads(text).get("image") if kind == "json" else next(csv.reader([text]))[0]
    except (ValueError, AttributeError, LookupError, StopIteration, csv.Error):
        return None
