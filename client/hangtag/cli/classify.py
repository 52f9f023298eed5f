"""`hangtag classify`: images of any number from many places, as a stream, with rows as they come."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..client import Client
from ..errors import HangtagError, InvalidInput
from ..results import Classification
from . import inputs, output, resume
from .bad_images import Handed, blame
from .inputs import Array, Source
from .resume import Earlier

_MOST_DRAWN = 60


def classify(arguments: argparse.Namespace, client: Client) -> int:
    """Run the command; returns the exit code."""
    if arguments.top < 1:
        raise InvalidInput(f"--top is {arguments.top}: give 1 or more")
    if arguments.resume and not arguments.output:
        raise InvalidInput("--resume goes on with a file: name it with --output")
    found = inputs.find(arguments.images)
    total = sum(map(len, found))
    if arguments.plot and total > _MOST_DRAWN:
        raise InvalidInput(f"--plot draws at most {_MOST_DRAWN} images, and there are {total:,}")
    if arguments.plot and not total:
        raise InvalidInput("--plot has no images to draw")
    kind = _format(arguments)
    earlier = _earlier(arguments, kind, found, total)
    done = at = 0 if earlier is None else earlier.images
    results: list[Classification] = []
    with _output(arguments.output, earlier) as file, _progress(total, done) as advance, client:
        header = earlier is None or not earlier.size
        writer = output.make(kind, file, arguments.top, width=_width(found, total), header=header)

        def take(stop: int) -> None:
            """Write the rows of the images up to `stop` that have none yet."""
            nonlocal at
            handed = Handed(found, at, stop)
            try:
                for result in client.classify_stream(handed, prepare=arguments.prepare):
                    if earlier is not None and at == done:
                        earlier.check(result, arguments.top)
                    writer.write([inputs.name(found, at + offset) for offset in range(len(result))], result)
                    file.flush()
                    at += len(result)
                    advance(len(result))
                    if arguments.plot:
                        results.append(result)
            except HangtagError as error:
                bad = blame(error, handed, client, arguments.prepare)
                if isinstance(error, InvalidInput) and bad is not None and at < bad < stop:
                    with suppress(HangtagError):
                        take(bad)  # what was on the way together with the bad image is good
                raise

        try:
            take(total)
        finally:
            if arguments.output and earlier is None and total and not at:
                Path(arguments.output).unlink(missing_ok=True)  # a run that got no answer leaves nothing behind
    if arguments.plot:
        _plot(found, results, arguments.plot)
    return 0


def _width(found: list[Source], total: int) -> int:
    """Of the first column, wide enough for the first names: all of a hundred thousand would take longer than they."""
    return max((len(inputs.name(found, index)) for index in range(min(total, 1000))), default=0)


def _format(arguments: argparse.Namespace) -> str:
    if arguments.json or arguments.csv:
        return "json" if arguments.json else "csv"
    ending = Path(arguments.output).suffix if arguments.output else ""
    return {".json": "json", ".jsonl": "json", ".csv": "csv"}.get(ending, "table")


def _earlier(arguments: argparse.Namespace, kind: str, found: list[Source], total: int) -> Earlier | None:
    """What need not be asked, because the output has it."""
    if not arguments.output or not os.path.lexists(arguments.output):
        return None
    path = Path(arguments.output)
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file: give another --output")
    if not arguments.resume:
        raise InvalidInput(f"{path} exists: go on with it by --resume, or remove it")
    if arguments.plot:
        raise InvalidInput("--plot needs all answers, and --resume leaves some out: give one of them")
    return resume.read(path, kind, arguments.top, lambda index: inputs.name(found, index), total)


@contextmanager
def _output(path: str | None, earlier: Earlier | None) -> Iterator[TextIO]:
    if not path:
        yield sys.stdout
        return
    try:  # a new file must not have come into being in between, and an old one keeps its whole rows
        file = open(path, "x" if earlier is None else "r+", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: PTH123, SIM115
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from error
    with file:
        if earlier is not None:
            file.seek(earlier.size)
            file.truncate()
        yield file


def _plot(found: list[Source], results: Sequence[Classification], file: str) -> None:
    from ..plots import draw_predictions, read_image

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
