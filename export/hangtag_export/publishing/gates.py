"""Conditions a model must meet before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.optional import require

from ..errors import ExportError, GateNotMet
from ..training.evaluation import Evaluation, compare
from . import card
from .atomic import newest

_BATCH = 1000


def check(
    found: Evaluation,
    images: np.ndarray,
    labels: np.ndarray,
    base_path: Path,
    *,
    min_accuracy: float | None,
    no_worse_than_current: bool,
) -> None:
    """Raise GateNotMet unless `found`, of these test images, is good enough."""
    if min_accuracy is not None and found.accuracy < min_accuracy:
        raise GateNotMet(f"test accuracy {found.accuracy:.4f} is below the {min_accuracy:g} asked for")
    current = newest(base_path) if no_worse_than_current else None
    if current is not None:
        best = published_accuracy(current, images, labels, found.class_names)
        if found.accuracy < best:
            raise GateNotMet(f"test accuracy {found.accuracy:.4f} is below the {best:.4f} of version {current.name}")


def check_replacement(
    base_path: Path, class_names: Sequence[str], image_shape: Sequence[int], *, replace: bool
) -> None:
    """Raise GateNotMet if clients of the newest version would get other classes or need images of another shape."""
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


def published_accuracy(folder: Path, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> float:
    """What a published version gets right of these very images. Raises ExportError if they are not for it."""
    tf = require("tensorflow", extra="export", what="exporting")
    try:
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            signatures = tf.compat.v1.saved_model.loader.load(
                session, [tf.saved_model.SERVING], str(folder)
            ).signature_def
            serving, names = signatures["serving_default"], signatures["labels"]
            asked = {names.inputs["index"].name: np.arange(len(class_names))}
            known = [name.decode() for name in session.run(names.outputs["class_name"].name, asked)]
            output = serving.outputs["probabilities"].name
            parts = [
                session.run(output, {serving.inputs["images"].name: images[start : start + _BATCH]})
                for start in range(0, len(images), _BATCH)
            ]
    except (OSError, KeyError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ExportError(
            f"version {folder.name} cannot be compared with ({str(error).splitlines()[0]}); nothing was published"
        ) from error
    if known != list(class_names):
        raise ExportError(f"version {folder.name} knows other classes than this data set; nothing was published")
    return compare(np.concatenate(parts), labels, class_names).accuracy


def keep_aside(model: Any, base_path: Path) -> Path:
    """Save a model that was not good enough where no server looks; returns the file."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = base_path / "rejected" / f"{now}.keras"
    try:
        path.parent.mkdir(exist_ok=True)
        model.save(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ExportError(f"nothing was published, and the model cannot be kept in {path.parent}: {error}") from error
    return path
