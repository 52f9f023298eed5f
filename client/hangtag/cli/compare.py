"""`hangtag compare`: compares two versions, labels or servers on the same images."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..client import Client
from ..config.target import parse_target
from ..errors import InvalidInput
from ..images.files import why_unreadable
from . import connection
from .inputs import Array, Files, find
from .terminal import Progress, counted, done, one_line

BATCH = 32
"""Images per call: a typical size that gives enough calls for a median."""

SIGNIFICANT = 0.05
"""A difference in accuracy is significant below this p-value."""

_SHOWN = 10  # images that differ, in the table


@dataclass(frozen=True)
class Side:
    """One side; `accuracy` is 0..1, or None without true labels; `p50_ms` is the median latency of a call."""

    name: str
    model_version: int | None
    accuracy: float | None
    p50_ms: float


@dataclass(frozen=True)
class Change:
    """An image on which the two differ: its position and both class names."""

    image: int
    left: str
    right: str


@dataclass(frozen=True)
class Comparison:
    """`agreement` is the share of images with the same class name, 0..1.

    `only_left_right` and `only_right_right` count the images that only one of the two classifies correctly, and
    `p_value` is McNemar's exact test on them; all three are None without true labels.
    """

    images: int
    agreement: float
    left: Side
    right: Side
    only_left_right: int | None
    only_right_right: int | None
    p_value: float | None
    changes: list[Change] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json."""
        return asdict(self)


def compare(
    left: Client,
    right: Client,
    images: Sequence[Any] | np.ndarray,
    *,
    truth: Sequence[str] | None = None,
    names: tuple[str, str] = ("left", "right"),
    progress: Progress | None = None,
) -> Comparison:
    """Classify `images` with both clients; `truth` has the true class names.

    The order of the clients alternates, so that a slow moment of the machine affects both. Latency is the median time
    of a call with ``BATCH`` images in milliseconds, as the client measures it.

    >>> with Client("localhost:8500", version=1) as old, Client("localhost:8500") as new:
    ...     result = compare(old, new, images[:100], names=("old", "new"))
    >>> result.agreement, result.right.name, result.right.model_version, result.changes
    (1.0, 'new', 1, [])
    """
    if not len(images):
        raise InvalidInput("there are no images to compare on")
    if truth is not None and len(truth) != len(images):
        raise InvalidInput(f"{len(images)} images and {len(truth)} true class names")
    clients = (left, right)
    for client in clients:  # connect and fetch metadata and class names now, because these must not be timed
        client.classify(images[:1])
    labels: tuple[list[str], list[str]] = ([], [])
    seconds: tuple[list[float], list[float]] = ([], [])
    versions: list[int | None] = [None, None]
    for number, start in enumerate(range(0, len(images), BATCH)):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            started = time.perf_counter()
            result = clients[side].classify(images[start : start + BATCH])
            seconds[side].append(time.perf_counter() - started)
            labels[side].extend(result.labels.tolist())
            versions[side] = result.model_version
        if progress is not None:
            progress.advance(len(result))
    correct = None if truth is None else [[label == true for label, true in zip(s, truth, strict=True)] for s in labels]
    sides = [
        Side(
            names[side],
            versions[side],
            None if correct is None else sum(correct[side]) / len(images),
            round(1e3 * statistics.median(seconds[side]), 3),
        )
        for side in (0, 1)
    ]
    pairs = enumerate(zip(*labels, strict=True))
    changes = [Change(image, one, other) for image, (one, other) in pairs if one != other]
    only: tuple[int | None, int | None] = (None, None)
    p_value = None
    if correct is not None:
        both = list(zip(*correct, strict=True))
        only_left, only_right = both.count((True, False)), both.count((False, True))
        only, p_value = (only_left, only_right), mcnemar(only_left, only_right)
    return Comparison(len(images), 1 - len(changes) / len(images), sides[0], sides[1], *only, p_value, changes)


def mcnemar(only_one: int, only_other: int) -> float:
    """The two-sided p-value of McNemar's exact test: how likely a difference of at least this size is by chance.

    The arguments count the images that only the one or only the other classifier gets right. If both are equally good,
    each of these images is right on either side with a probability of 1/2. Source: McNemar, Psychometrika 12, 1947.

    >>> mcnemar(1, 9), mcnemar(0, 0), mcnemar(5, 5)
    (0.021484375, 1.0, 1.0)
    """
    count, few = only_one + only_other, min(only_one, only_other)
    term = total = 1
    for chosen in range(few):
        term = term * (count - chosen) // (chosen + 1)
        total += term
    return min(1.0, 2 * total / (1 << count))


# ---- the command


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "compare",
        description="Classify the same images with two versions, labels or servers, and show where the results "
        "differ. With true labels, also show which one is more accurate and whether the difference is significant.",
        examples=[
            "hangtag compare --label stable --label canary",
            "hangtag compare photos/ --version 1 --version 2 --json",
        ],
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="image files, folders, globs, or one .npy or .npz file (default: the 10,000 Fashion-MNIST test images, if "
        "they are on this machine)",
    )
    parser.add_argument(
        "--target", action="append", help=f"server address; one, or two (default {connection.DEFAULT_TARGET})"
    )
    parser.add_argument("--version", action="append", type=int, default=[], metavar="N", help="version; give two")
    parser.add_argument("--label", action="append", default=[], help="version label; give two")
    parser.add_argument("--model", default="fashion", help="model name on the server (default fashion)")
    parser.add_argument(
        "--truth",
        metavar="FILE.npy",
        help="true labels as class indices (default: `labels` in the .npz file, or the folder names)",
    )
    connection.add_timeout(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    connection.add_labels(parser)
    connection.add_model_options(parser)
    connection.add_trust(parser)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    sides = _sides(arguments)
    options = {**connection.model_options(arguments), **connection.trust(arguments)}
    source = _source(arguments.images)
    images: Any = source.array if isinstance(source, Array) else list(source.names)
    with ExitStack() as opened:
        left, right = (opened.enter_context(Client(**options, **side)) for _, side in sides)
        class_names = left.classify(images[:1]).class_names if len(images) else ()
        truth = _truth(arguments.truth, source, class_names)
        with Progress(len(images)) as progress:
            result = compare(left, right, images, truth=truth, names=(sides[0][0], sides[1][0]), progress=progress)
    if arguments.json:
        named = [{"image": source.name(change.image)} for change in result.changes]
        document = result.to_dict()
        document["changes"] = [change | name for change, name in zip(document["changes"], named, strict=True)]
        print(json.dumps(document))
    else:
        _print(result, source)
    done(
        f"compared on {counted(result.images, 'image')}",
        next_step="" if truth is not None else "--truth FILE.npy shows which is more accurate",
    )
    return 0


def _sides(arguments: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """The name and the client's arguments of both sides. Exactly one flag must be given twice."""
    targets = arguments.target or [connection.DEFAULT_TARGET]
    given: dict[str, list[Any]] = {
        "target": targets,
        "version": arguments.version,
        "version_label": arguments.label,
    }
    twice = [flag for flag, values in given.items() if len(values) == 2]
    if len(twice) != 1 or any(len(values) > 2 for values in given.values()):
        raise InvalidInput(
            "give the two to compare: --version 1 --version 2, --label stable --label canary, or --target A --target B"
        )
    one, other = given[twice[0]]
    if one == other:
        raise InvalidInput(f"both sides are {_name(twice[0], one)}: there is nothing to compare")
    if given["version"] and given["version_label"]:
        raise InvalidInput("give --version or --label, not both")
    common = {flag: values[0] for flag, values in given.items() if len(values) == 1}
    return [(_name(twice[0], value), {**common, twice[0]: value}) for value in (one, other)]


def _name(kind: str, value: Any) -> str:
    if kind == "target":
        return str(parse_target(value))  # without a password
    return f"{'label' if kind == 'version_label' else kind} {value}"


def _source(images: Sequence[str]) -> Files | Array:
    if not images:
        from ..fashion_mnist import load_test_images

        dataset = load_test_images()
        if dataset is None:
            raise InvalidInput("Fashion-MNIST's test images are not on this machine: give images to compare on")
        return Array("fashion-mnist", *dataset)
    sources = find(images)
    if len(sources) != 1 or not isinstance(sources[0], Files | Array):
        raise InvalidInput("give image files and folders of them, or one .npy or .npz array")
    return sources[0]


def _truth(file: str | None, source: Files | Array, class_names: Sequence[str]) -> list[str] | None:
    """The true class names from --truth, from the .npz, or from the folders if their names are class names."""
    if file is None and isinstance(source, Files):
        folders = [Path(name).parent.name for name in source.names]
        return folders if folders and set(folders) <= set(class_names) else None
    if file is None:
        labels = source.labels if isinstance(source, Array) else None
        if labels is None:
            return None
    else:
        try:
            labels = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InvalidInput(f"cannot read the labels {file}: {why_unreadable(error)}") from error
    if (
        not isinstance(labels, np.ndarray)
        or labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or (labels.size and not 0 <= labels.min() <= labels.max() < len(class_names))
    ):
        where = file or f"`labels` of {source.label}"  # type: ignore[union-attr]
        raise InvalidInput(f"{where} must hold one whole number 0..{len(class_names) - 1} for each image")
    own = source.class_names if file is None and isinstance(source, Array) else ()  # perhaps in another order
    names = own if sorted(own) == sorted(class_names) else class_names
    return [names[label] for label in labels]


def _print(result: Comparison, source: Files | Array) -> None:
    left, right = result.left, result.right
    width = max(len(left.name), len(right.name))
    print(f"{'':{width}}  version  accuracy  p50 ms")
    for side in (left, right):
        accuracy = "-" if side.accuracy is None else f"{side.accuracy:.4f}"
        print(f"{side.name:{width}}  {side.model_version or '-':>7}  {accuracy:>8}  {side.p50_ms:>6.2f}")
    print(f"they agree on {result.agreement:.2%} of {counted(result.images, 'image')}")
    if result.p_value is not None:
        print(f"only {left.name} is right: {result.only_left_right:,}; only {right.name}: {result.only_right_right:,}")
        verdict = "significant" if result.p_value < SIGNIFICANT else "not significant"
        print(f"the difference in accuracy is {verdict} (McNemar's exact test: p = {result.p_value:.3g})")
    for change in result.changes[:_SHOWN]:
        print(one_line(f"  {source.name(change.image)}: {change.left} -> {change.right}"))
    if len(result.changes) > _SHOWN:
        print(f"  … {len(result.changes) - _SHOWN:,} more")
