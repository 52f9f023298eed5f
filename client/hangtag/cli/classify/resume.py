"""Reads the rows that an earlier run of `hangtag classify` wrote, and checks whether another run may continue them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InvalidInput
from ...results import Classification
from .output import JSON_KEYS, csv_header, csv_line


@dataclass(frozen=True, slots=True)
class Earlier:
    """The rows of the first `images` images, in the first `size` bytes of the file; an incomplete row may follow."""

    path: Path
    images: int
    size: int
    labels: tuple[str, ...]
    """The best classes of the last of these images."""

    def check(self, result: Classification, top: int) -> None:
        """Raise InvalidInput if rows of `result` would not match those of the file."""
        if self.labels and len(self.labels) != min(top, len(result.class_names)):
            raise _other_top(self.path, len(self.labels))
        for label in self.labels:
            if label not in result.class_names:
                raise InvalidInput(
                    f"{self.path} has the class {label!r}, which the model does not have: "
                    "give the same --model and --language as before, or another --output"
                )


def _other_top(path: Path, ranks: int) -> InvalidInput:
    return InvalidInput(f"{path} has the best {ranks} classes of each image: give --top {ranks}, or another --output")


def read(path: Path, kind: str, top: int, name_of: Callable[[int], str], total: int) -> Earlier:
    """The rows in `path`; raises InvalidInput unless all of them were written by a run over the same images.

    `name_of` returns the name of each of the `total` images. The file is not changed.
    """
    if kind == "table":
        raise InvalidInput("--resume cannot read a table: add --json or --csv")
    try:
        with path.open("rb") as file:
            return _read(file, path, kind, top, name_of, total)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def _read(file: BinaryIO, path: Path, kind: str, top: int, name_of: Callable[[int], str], total: int) -> Earlier:
    lines = _Lines(file)
    if kind == "csv":
        header, first = csv_line(csv_header(top)), next(iter(lines), "")
        if first != header:
            file.seek(0)
            if header.encode().startswith(file.read()):
                return Earlier(path, 0, 0, ())
            raise InvalidInput(f"{path} does not start with the columns of --top {top}: give another --output")
    labels: tuple[str, ...] = ()
    images, size = 0, lines.size
    for name, best in _rows(lines, kind, top):
        if images == total or name != name_of(images):
            break
        if len(best) > top:
            raise _other_top(path, len(best))
        images, size, labels = images + 1, lines.size, best
    file.seek(size)
    rest = file.read()
    if rest and (images == total or not _cut_off(rest, _beginning(kind, name_of(images)))):
        raise InvalidInput(f"{path} has rows of other images, from row {images + 1} on: give another --output")
    return Earlier(path, images, size, labels)


class _Lines:
    """The complete lines of a file as text; `size` is the number of their bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            if line.endswith(b"\n"):
                self.size += len(line)
                yield line.decode("utf-8", "surrogateescape")


def _rows(lines: _Lines, kind: str, top: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and best classes of each row, up to the first one that `hangtag classify` did not write completely."""
    rows: Iterator[Any] = csv.reader(lines, strict=True) if kind == "csv" else map(json.loads, lines)
    with suppress(csv.Error, ValueError, LookupError, TypeError, RecursionError):
        for row in rows:
            if kind == "csv":
                ours = len(row) == 2 + 2 * top  # image and version, then pairs; those of missing classes are empty
                name, best = row[0], [label for label, score in zip(row[2::2], row[3::2], strict=True) if score]
            else:
                ours = tuple(row) == JSON_KEYS
                name, best = row["image"], [entry["label"] for entry in row["top"]]
            if not ours:
                return
            yield name, tuple(best)


def _beginning(kind: str, name: str) -> bytes:
    """The beginning of an image's row, which is known before the image is classified."""
    if kind == "csv":
        return csv_line([name, ""]).removesuffix("\n").encode("utf-8", "surrogateescape")
    return json.dumps(dict(zip(JSON_KEYS, (name, ""), strict=False))).removesuffix('"}').encode()


def _cut_off(rest: bytes, beginning: bytes) -> bool:
    """Whether `rest` is an incomplete row with that beginning."""
    return beginning.startswith(rest) or (rest.startswith(beginning) and b"\n" not in rest[len(beginning) :])
