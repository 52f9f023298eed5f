"""`hangtag classify`: images of any number from many places, as a stream, with rows as they come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import rows, sources
from .client import Client
from .errors import InvalidInput
from .results import Classification
from .sources import Array, Source

_MOST_DRAWN = 60


def classify(arguments: argparse.Namespace, client: Client) -> int:
    """Run the command; returns the exit code."""
    if arguments.top < 1:
        raise InvalidInput(f"--top is {arguments.top}: give 1 or more")
    if arguments.resume and not arguments.output:
        raise InvalidInput("--resume goes on with a file: name it with --output")
    found = sources.find(arguments.images)
    total = sum(map(len, found))
    if arguments.plot and total > _MOST_DRAWN:
        raise InvalidInput(f"--plot draws at most {_MOST_DRAWN} images, and there are {total:,}")
    kind = _format(arguments)
    done = _done(arguments, kind, found, total)
    results, at = [], done
    try:
        with _output(arguments) as file, _progress(total, done) as advance, client:
            writer = rows.make(kind, file, arguments.top, width=_width(found, total), header=done == 0)
            for result in client.classify_stream(_items(found, done), prepare=arguments.prepare):
                writer.write([_name(found, at + offset) for offset in range(len(result))], result)
                file.flush()
                at += len(result)
                advance(len(result))
                if arguments.plot:
                    results.append(result)
    finally:
        if arguments.output and total and not at:
            Path(arguments.output).unlink(missing_ok=True)  # a run that got no answer leaves nothing behind
    if arguments.plot:
        _plot(found, results, arguments.plot)
    return 0


def _width(found: list[Source], total: int) -> int:
    """Of the first column, wide enough for the first names: all of a hundred thousand would take longer than they."""
    return max((len(_name(found, index)) for index in range(min(total, 1000))), default=0)


def _format(arguments: argparse.Namespace) -> str:
    if arguments.json or arguments.csv:
        return "json" if arguments.json else "csv"
    ending = Path(arguments.output).suffix if arguments.output else ""
    return {".json": "json", ".jsonl": "json", ".csv": "csv"}.get(ending, "table")


def _done(arguments: argparse.Namespace, kind: str, found: list[Source], total: int) -> int:
    """How many images need no asking, because the output has them."""
    if not arguments.output or not Path(arguments.output).exists():
        return 0
    if not arguments.resume:
        raise InvalidInput(f"{arguments.output} exists: go on with it by --resume, or remove it")
    if arguments.plot:
        raise InvalidInput("--plot needs all answers, and --resume leaves some out: give one of them")
    return rows.rows_done(Path(arguments.output), kind, lambda index: _name(found, index), total)


def _output(arguments: argparse.Namespace) -> AbstractContextManager[TextIO]:
    if not arguments.output:
        return nullcontext(sys.stdout)
    try:
        return open(arguments.output, "a", encoding="utf-8", newline="")  # noqa: PTH123 - closed by the caller's `with`
    except OSError as error:
        raise InvalidInput(f"cannot write {arguments.output}: {error.strerror}") from error


def _items(found: list[Source], start: int) -> Iterator[Any]:
    """The images from `start` on, through all sources."""
    for source in found:
        yield from source.items(min(start, len(source)))
        start = max(0, start - len(source))


def _name(found: list[Source], index: int) -> str:
    for source, end in zip(found, accumulate(map(len, found)), strict=True):
        if index < end:
            return source.name(index - end + len(source))
    raise IndexError(index)


def _plot(found: list[Source], results: Sequence[Classification], file: str) -> None:
    from .pictures import draw_predictions, read_image

    images: list[np.ndarray] = []
    for source in found:
        if isinstance(source, Array):
            images += list(source.array)
        else:
            images += [read_image(item) for item in source.items(0)]
    joined = Classification(
        np.concatenate([result.probabilities for result in results]),
        results[0].class_names,
        model_version=results[0].model_version,
    )
    draw_predictions(images, joined, file)


class _Bar:
    """A progress bar on a terminal that stands by; nothing elsewhere."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __enter__(self) -> Callable[[int], object]:
        update: Callable[[int], object] = self._bar.update
        return update

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _progress(total: int, done: int) -> AbstractContextManager[Callable[[int], object]]:
    if sys.stderr.isatty() and total > 1:
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            return _Bar(tqdm(total=total, initial=done, unit=" images", unit_scale=True, leave=False))
    return nullcontext(lambda count: None)
