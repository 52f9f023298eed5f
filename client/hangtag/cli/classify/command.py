"""`hangtag classify`: classifies any number of images as a stream, and writes rows as the results arrive."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ...contract import SERVING_DEFAULT
from ...errors import HangtagError, InvalidInput
from ...images.input import Pixels, read
from ...images.pillow import decode
from ...images.pixels import layout_of
from ...photo import prepared
from ...results import Classification
from .. import connection, inputs
from ..inputs import Source
from ..terminal import Progress, counted, done
from . import output
from .bad_images import Taken, name_images

if TYPE_CHECKING:
    from ...client import Client
    from .resume import Earlier

_MOST_DRAWN = 60


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "classify",
        description="Classify images with a running server and print one row per image, as a table, JSON lines or CSV.",
        examples=[
            "hangtag classify shoe.png --top 3",
            "hangtag classify photos/ 'more/*.jpg' test.npy --output rows.csv",
        ],
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image file, folder, glob, or .npy or .npz file with an array [N, height, width]; - reads one of these, "
        "or file names (one per line), from standard input",
    )
    connection.add_server(parser, timeout_help="deadline for each request (default %(default)g)")
    parser.add_argument("--top", metavar="K", type=int, default=1, help="show the K best classes (default 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per line")
    form.add_argument("--csv", action="store_true", help="print CSV with a header")
    parser.add_argument(
        "--output", metavar="FILE", help="write the rows to this file; .jsonl and .csv select the format"
    )
    parser.add_argument("--resume", action="store_true", help="continue after the rows that are already in --output")
    connection.add_model_options(parser)
    parser.add_argument(
        "--prepare", choices=["photo"], help="convert product photos so that they look like Fashion-MNIST images"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the images as the model receives them, with bars for the scores"
    )
    parser.set_defaults(run=_classify)


def _classify(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise InvalidInput(f"--top is {arguments.top}: give 1 or more")
    if arguments.resume and not arguments.output:
        raise InvalidInput("--resume continues a file: name it with --output")
    sources = inputs.find(arguments.images)
    total = sum(map(len, sources))
    if arguments.plot and total > _MOST_DRAWN:
        raise InvalidInput(f"--plot draws at most {_MOST_DRAWN} images, and there are {total:,}")
    if arguments.plot and not total:
        raise InvalidInput("--plot has no images to draw")
    kind = _format(arguments)
    client = connection.client(arguments)
    earlier = _earlier(arguments, kind, sources, total)
    first = at = 0 if earlier is None else earlier.images
    results: list[Classification] = []
    with _output(arguments.output, earlier) as file, Progress(total, first) as progress, client:
        header = earlier is None or not earlier.size
        writer = output.make(kind, file, arguments.top, width=_width(sources, total), header=header)

        def classify(stop: int) -> None:
            """Write the rows of the images up to `stop` that have none yet."""
            nonlocal at
            taken = Taken(sources, at, stop)
            try:
                for result in client.classify_stream(taken, prepare=arguments.prepare):
                    if earlier is not None and at == first:
                        earlier.check(result, arguments.top)
                    writer.write([inputs.name(sources, at + offset) for offset in range(len(result))], result)
                    file.flush()
                    at += len(result)
                    progress.advance(len(result))
                    if arguments.plot:
                        results.append(result)
            except HangtagError as error:
                bad = name_images(error, taken, client, arguments.prepare)
                if isinstance(error, InvalidInput) and bad is not None and at < bad < stop:
                    with suppress(HangtagError):
                        classify(bad)  # the images before the bad one, which were in the same request, are good
                raise

        try:
            classify(total)
        finally:
            if arguments.output and earlier is None and total and not at:
                Path(arguments.output).unlink(missing_ok=True)  # a run that wrote no row leaves no file
        row = _image_shape(client) if arguments.plot else None
    if arguments.plot:
        _plot(_received(sources, row, arguments.prepare), results, arguments.plot)
    _say_done(arguments, at - first)
    return 0


def _say_done(arguments: argparse.Namespace, count: int) -> None:
    files = [file for file in (arguments.output, arguments.plot) if file]
    if files:
        done(f"classified {counted(count, 'image')} into {' and '.join(files)}")
    else:
        advice = "--output rows.csv writes a file" if arguments.top > 1 else "--top 3 shows more classes"
        done(f"classified {counted(count, 'image')}", next_step=advice)


def _width(sources: list[Source], total: int) -> int:
    """The width of the first column: the longest of the first thousand names."""
    return max((len(inputs.name(sources, index)) for index in range(min(total, 1000))), default=0)


def _format(arguments: argparse.Namespace) -> str:
    if arguments.json or arguments.csv:
        return "json" if arguments.json else "csv"
    suffix = Path(arguments.output).suffix if arguments.output else ""
    return {".json": "json", ".jsonl": "json", ".csv": "csv"}.get(suffix, "table")


def _earlier(arguments: argparse.Namespace, kind: str, sources: list[Source], total: int) -> Earlier | None:
    """The rows that are already in the output; None if it does not exist."""
    if not arguments.output or not os.path.lexists(arguments.output):
        return None
    path = Path(arguments.output)
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file: give another --output")
    if not arguments.resume:
        raise InvalidInput(f"{path} exists: continue it with --resume, or remove it")
    if arguments.plot:
        raise InvalidInput("--plot needs all results, and --resume leaves some out: give one of them")
    from . import resume

    return resume.read(path, kind, arguments.top, lambda index: inputs.name(sources, index), total)


@contextmanager
def _output(path: str | None, earlier: Earlier | None) -> Iterator[TextIO]:
    if not path:
        yield sys.stdout
        return
    try:  # "x": a file that another process has just made is not overwritten; an old one keeps its whole rows
        file = open(path, "x" if earlier is None else "r+", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: PTH123, SIM115
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from error
    with file:
        if earlier is not None:
            file.seek(earlier.size)
            file.truncate()
        yield file


def _image_shape(client: Client) -> tuple[int | None, ...] | None:
    """The shape of one image in the model's input; None for a model that takes files."""
    inputs_ = client.metadata().signatures[SERVING_DEFAULT].inputs.values()
    shapes = [spec.shape[1:] for spec in inputs_ if spec.shape is not None and len(spec.shape) > 2]
    return shapes[0] if shapes else None


def _received(sources: list[Source], row: tuple[int | None, ...] | None, prepare: str | None) -> list[np.ndarray]:
    """The images as the model receives them: prepared, converted to its channels, and resized."""
    from ...plots import read_image

    layout = layout_of(row)
    images: list[np.ndarray] = []
    for source in sources:
        for item in source.items(0):
            batch = read(prepared(item, prepare))
            if isinstance(batch, Pixels):
                images += list(batch.data)
            else:
                images += [read_image(file) for file in batch.files] if layout is None else decode(batch.files, layout)
    return images


def _plot(images: Sequence[np.ndarray], results: Sequence[Classification], file: str) -> None:
    from ...plots import draw_predictions

    joined = Classification(
        np.concatenate([result.probabilities for result in results]),
        results[0].class_names,
        model_version=results[0].model_version,
    )
    draw_predictions(images, joined, file)
