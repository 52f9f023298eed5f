"""`hangtag compare`: two versions, labels or servers on the same images, as a table or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..client import Client
from ..errors import InvalidInput
from ..target import parse_target
from .comparison import Comparison, compare
from .inputs import Array, Files, find
from .output import one_line

_SHOWN = 10  # images that differ, in the table


def run(arguments: argparse.Namespace, connect: Callable[..., Client]) -> int:
    """Compare, print, and return the exit code; `connect` takes a target, a version and a version label."""
    sides = _sides(arguments)
    (source,) = _one(find(arguments.images))
    images: Any = source.array if isinstance(source, Array) else list(source.items(0))
    with ExitStack() as opened:
        left, right = (opened.enter_context(connect(**side)) for _, side in sides)
        truth = _truth(arguments.truth, source, left.labels())
        result = compare(left, right, images, truth=truth, names=(sides[0][0], sides[1][0]))
    if arguments.json:
        named = [{"image": source.name(change.image)} for change in result.changes]
        document = result.to_dict()
        document["changes"] = [change | name for change, name in zip(document["changes"], named, strict=True)]
        print(json.dumps(document))
    else:
        _print(result, source)
    return 0


def _sides(arguments: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """What distinguishes the two: exactly one flag is given twice, the others at most once."""
    given = {"target": arguments.target, "version": arguments.version, "version_label": arguments.label}
    twice = [flag for flag, values in given.items() if len(values) == 2]
    if len(twice) != 1 or any(len(values) > 2 for values in given.values()):
        raise InvalidInput(
            "say which two to compare: --version 1 --version 2, --label stable --label canary, or --target A --target B"
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
        return str(parse_target(value))  # which leaves a password out
    return f"{'label' if kind == 'version_label' else kind} {value}"


def _one(sources: Sequence[Any]) -> Sequence[Any]:
    if len(sources) != 1 or not isinstance(sources[0], Files | Array):
        raise InvalidInput("give PNG and JPEG files and folders of them, or one .npy or .npz array")
    return sources


def _truth(file: str | None, source: Any, class_names: Sequence[str]) -> list[str] | None:
    """The true names: from --truth, or from the folders that the files lie in if those are named as the classes are."""
    if file is None:
        folders = [Path(name).parent.name for name in source.names] if isinstance(source, Files) else []
        return folders if folders and set(folders) <= set(class_names) else None
    try:
        labels = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read the labels {file}: {error}") from error
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or (labels.size and not 0 <= labels.min() <= labels.max() < len(class_names))
    ):
        raise InvalidInput(f"{file} must hold one whole number 0..{len(class_names) - 1} for each image")
    return [class_names[label] for label in labels]


def _print(result: Comparison, source: Any) -> None:
    width = max(len(side.name) for side in (result.left, result.right))
    print(f"{'':{width}}  version  accuracy  p50 ms")
    for side in (result.left, result.right):
        accuracy = "-" if side.accuracy is None else f"{side.accuracy:.4f}"
        print(f"{side.name:{width}}  {side.model_version or '-':>7}  {accuracy:>8}  {side.p50_ms:>6.2f}")
    print(f"they agree on {result.agreement:.2%} of {result.images:,} images")
    for change in result.changes[:_SHOWN]:
        print(one_line(f"  {source.name(change.image)}: {change.left} -> {change.right}"))
    if len(result.changes) > _SHOWN:
        print(f"  … {len(result.changes) - _SHOWN:,} more")
