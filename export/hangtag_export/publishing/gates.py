"""Conditions that a model must meet before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.errors import InvalidInput

from ..base_path import newest
from ..data.dataset import Images
from ..errors import DataError, ExportError, GateNotMet
from ..evaluation import Evaluation, compare
from ..keras_files import uninterrupted
from ..savedmodel import card, published


def check(
    found: Evaluation,
    images: Images,
    labels: np.ndarray,
    base_path: Path,
    *,
    min_accuracy: float | None,
    no_worse_than_current: bool,
) -> None:
    """Raise GateNotMet unless `found`, the evaluation on these test images, meets the conditions."""
    if min_accuracy is not None and found.accuracy < min_accuracy:
        raise GateNotMet(f"test accuracy {found.accuracy:.4f} is below the required {min_accuracy:g}")
    current = newest(base_path) if no_worse_than_current else None
    if current is not None:
        best = published_accuracy(current, images, labels, found.class_names)
        if found.accuracy < best:
            raise GateNotMet(f"test accuracy {found.accuracy:.4f} is below the {best:.4f} of version {current.name}")


_ENOUGH = 20  # test images; with fewer, a good result may be chance
_NEARLY_ALL = 0.95


def check_learned(evaluation: Evaluation) -> None:
    """Raise GateNotMet if the model nearly always predicts the same class, or is no better than chance."""
    confusion = evaluation.confusion  # true class by predicted class
    images, classes = int(confusion.sum()), len(evaluation.class_names)
    if images < _ENOUGH:
        return
    top = int(confusion.sum(axis=0).argmax())
    others = images - int(confusion[top].sum())
    others_taken_for_it = int(confusion[:, top].sum() - confusion[top, top])
    if confusion[:, top].sum() >= _NEARLY_ALL * images and others_taken_for_it >= _NEARLY_ALL * others > 0:
        raise GateNotMet(
            f"the model predicts {evaluation.class_names[top]!r} for {confusion[:, top].sum():,} of {images:,} test "
            "images, so it has learned nothing: train longer or with another --learning-rate (--force publishes it)"
        )
    chance = 1 / classes
    if evaluation.accuracy <= chance + 2 * (chance * (1 - chance) / images) ** 0.5:
        raise GateNotMet(
            f"test accuracy {evaluation.accuracy:.4f} on {images:,} images is no better than chance, {chance:.4f} for "
            f"{classes} classes: train longer, or check the images' labels (--force publishes it)"
        )


def check_comparable(base_path: Path, class_names: Sequence[str], image_shape: Sequence[int]) -> None:
    """Raise ExportError if the newest version cannot be measured on this data set. Called before the training."""
    current = newest(base_path)
    if current is None:
        return
    document = card.read(current)
    for wrong, what in (
        (not document, "was not published by Hangtag"),
        (document.get("class_names") != list(class_names), "has other classes"),
        (document.get("image_shape") != list(image_shape), "takes images of another shape"),
        (document.get("output", contract.PROBABILITIES) != contract.PROBABILITIES, "is a multi-label model"),
    ):
        if wrong:
            raise ExportError(
                f"version {current.name} in {base_path} {what}, so the new one cannot be compared with it: "
                "leave out --no-worse-than-current, or publish to another base path"
            )


def check_replacement(
    base_path: Path,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    *,
    replace: bool,
    output: str = contract.PROBABILITIES,
) -> None:
    """Raise GateNotMet if the newest version has other classes or takes images of another shape.

    `output` is the name of the probabilities in the new version's signatures.
    """
    current = None if replace else newest(base_path)
    if current is None:
        return
    document = card.read(current)
    hint = "publish to another base path, or with --replace"
    if not document:
        raise GateNotMet(
            f"version {current.name} in {base_path} was not published by Hangtag, so its clients may send other images "
            f"and expect other classes: {hint}"
        )
    if document.get("class_names") != list(class_names):
        raise GateNotMet(f"version {current.name} in {base_path} has other classes: {hint}")
    if document.get("image_shape") != list(image_shape):
        shapes = ["x".join(map(str, shape)) for shape in (document.get("image_shape") or "?", image_shape)]
        raise GateNotMet(f"version {current.name} in {base_path} takes images of {shapes[0]}, not {shapes[1]}: {hint}")
    if document.get("output", contract.PROBABILITIES) != output:
        kinds = ("gives each class a probability of its own", "gives one class of several")
        known, new = kinds if output == contract.PROBABILITIES else kinds[::-1]
        raise GateNotMet(f"version {current.name} in {base_path} {known}, and the new one {new}: {hint}")


def published_accuracy(folder: Path, images: Images, labels: np.ndarray, class_names: Sequence[str]) -> float:
    """The accuracy of a published version on these images. Raises ExportError if it cannot be measured on them."""
    try:
        probabilities, known = published.predict(folder, images)
    except (DataError, InvalidInput) as error:
        raise ExportError(f"version {folder.name} cannot be compared with: {error}; nothing was published") from error
    if known != list(class_names):
        raise ExportError(f"version {folder.name} has other classes than this data set; nothing was published")
    return compare(probabilities, labels, class_names).accuracy


def keep_aside(model: Any, base_path: Path) -> Path:
    """Save a model that was not published in a folder that servers ignore; returns the file."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = base_path / "rejected" / f"{now}.keras"
    try:
        path.parent.mkdir(exist_ok=True)
        with uninterrupted():
            model.save(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            path.parent.rmdir()
        raise ExportError(f"nothing was published, and the model cannot be saved in {path.parent}: {error}") from error
    return path
