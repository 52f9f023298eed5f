"""Finds the images that a command line names: files, folders, globs, arrays and standard input, in order."""

from __future__ import annotations

import codecs
import glob
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import IMAGE_SUFFIXES
from ..core.chunking import GRPC_ROWS
from ..errors import InvalidInput
from ..images.files import MAX_IMAGE_BYTES
from ..images.input import CONVERTED, MAGIC

_ARRAYS = (b"\x93NUMPY", b"PK\x03\x04")  # .npy and .npz
_LARGEST_ARRAYS = 4 << 30  # bytes that are read from a pipe


@dataclass(frozen=True, slots=True)
class Files:
    """Image files; each is an item of the stream."""

    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The name of image `index` in the output."""
        return self.names[index]

    def items(self, start: int) -> Iterator[Any]:
        """The images from `start` on, for a stream."""
        yield from self.names[start:]


@dataclass(frozen=True, slots=True)
class Array:
    """An array of images [N, …], which may be mapped from a file and is read in batches.

    `labels` are the true labels in the same archive, unchecked, and `class_names` what they index.
    """

    label: str
    array: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        """The name in the form ``test.npy[17]``."""
        return f"{self.label}[{index}]"

    def items(self, start: int) -> Iterator[Any]:
        """The images from `start` on; each item is a batch."""
        for at in range(start, len(self.array), GRPC_ROWS):
            yield np.asarray(self.array[at : at + GRPC_ROWS])


@dataclass(frozen=True, slots=True)
class Bytes:
    """One image file from standard input."""

    content: bytes

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        """The name of standard input."""
        return "-"

    def items(self, start: int) -> Iterator[Any]:
        """The file; nothing if `start` skips it."""
        yield from [self.content][start:]


Source = Files | Array | Bytes


def items(sources: Sequence[Source], start: int) -> Iterator[Any]:
    """The images of all sources from `start` on, for a stream."""
    for source in sources:
        yield from source.items(min(start, len(source)))
        start = max(0, start - len(source))


def name(sources: Sequence[Source], index: int) -> str:
    """The name of image `index`, counted through all sources."""
    for source in sources:
        if index < len(source):
            return source.name(index)
        index -= len(source)
    raise IndexError(index)


def find(arguments: Sequence[str]) -> list[Source]:
    """The sources that `arguments` name; raises InvalidInput if one of them names nothing."""
    every = (source for argument in arguments for source in _find(argument))
    sources: list[Source] = []
    for are_files, group in groupby(every, lambda source: isinstance(source, Files)):
        if are_files:  # one source for all names, so that looking up the name of an image is quick
            sources.append(Files([name for source in group for name in source.names]))  # type: ignore[union-attr]
        else:
            sources += group
    return sources


def _find(argument: str) -> list[Source]:
    if argument == "-":
        return _standard_input()
    if not argument:
        raise InvalidInput("the name of an image is empty: give a file, or . for the current folder")
    path = Path(argument)
    try:
        if path.is_dir():
            files = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            names = sorted(str(file) for file in files if file.is_file())
            if not names:
                raise InvalidInput(f"no image file in folder {argument}")
            return [Files(names)]
        exists = path.exists()
    except OSError as error:  # no permission, or a name too long for any file
        raise InvalidInput(f"cannot read {argument}: {error.strerror}") from error
    if exists:
        return [_arrays(argument, argument)] if path.suffix.lower() in (".npy", ".npz") else [Files([argument])]
    if any(mark in argument for mark in "*?["):
        names = sorted(set(_matches(argument)))
        if not names:
            raise InvalidInput(f"no file matches {argument}")
        return [source for name in names for source in _find(name)]
    raise InvalidInput(f"cannot read {argument}: no such file or folder")


def _matches(pattern: str) -> Iterator[str]:
    """Like glob.glob, but `**` does not follow links to folders, which may lead back to a parent folder."""
    deep = re.search(r"(?:^|/)\*\*/", pattern)
    if deep is None:
        yield from glob.glob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return
    start, rest = pattern[: deep.end() - len("**/")], pattern[deep.end() :]
    for top in glob.glob(start) if start else ["."]:  # noqa: PTH207
        for folder, below, _ in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]
            yield from _matches(str(Path(glob.escape(folder), rest)))


def _standard_input() -> list[Source]:
    """Read one image, one array, or the names of files, one per line; the first bytes distinguish them."""
    if sys.stdin is None:
        raise InvalidInput("standard input is closed")
    content = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1)
    if content.startswith(_ARRAYS):
        content += sys.stdin.buffer.read(_LARGEST_ARRAYS)
    elif len(content) > MAX_IMAGE_BYTES:
        raise InvalidInput(f"standard input is too large, more than {MAX_IMAGE_BYTES // 1_000_000} MB: name a file")
    if content.startswith((*MAGIC, *CONVERTED)) and b"\0" in content:
        return [Bytes(content)]
    if content.startswith(_ARRAYS):
        return [_arrays("-", io.BytesIO(content))]
    if b"\0" in content:
        raise InvalidInput("standard input is neither an image, nor .npy or .npz, nor the names of files")
    content = content.removeprefix(codecs.BOM_UTF8)  # which PowerShell writes into pipes
    names = [os.fsdecode(line.removesuffix(b"\r")) for line in content.split(b"\n") if line.strip()]
    if not names:
        raise InvalidInput("standard input is empty")
    return [source for name in names for source in _find(name)]


def _arrays(label: str, file: Any) -> Array:
    try:
        loaded = np.load(file, mmap_mode="r" if isinstance(file, str) and file.lower().endswith(".npy") else None)
        found: dict[str, Any] = {}
        if not isinstance(loaded, np.ndarray):
            loaded, found = _chosen(label, loaded)
    except InvalidInput:
        raise
    except Exception as error:  # numpy has no common class for what a broken file may raise
        raise InvalidInput(f"cannot read {label} as an array: {error}") from error
    if loaded.ndim < 2 or loaded.dtype.kind not in "buif":
        raise InvalidInput(f"{label} holds {loaded.dtype} {list(loaded.shape)}: give images [N, height, width]")
    return Array(label, loaded[np.newaxis] if loaded.ndim == 2 else loaded, **found)


def _chosen(label: str, archive: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The array `images` of an archive, or its only array; and its `labels` and `class_names`, if any."""
    with archive:
        names = archive.files
        if len(names) != 1 and "images" not in names:
            raise InvalidInput(f"{label} holds {', '.join(names) or 'nothing'}: name the one to classify `images`")
        found: dict[str, Any] = {"labels": archive["labels"]} if "labels" in names else {}
        texts = archive["class_names"] if "class_names" in names else np.array([])
        if texts.ndim == 1 and texts.dtype.kind == "U":
            found["class_names"] = tuple(texts.tolist())
        return archive["images" if "images" in names else names[0]], found
