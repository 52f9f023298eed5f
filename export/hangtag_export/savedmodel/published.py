"""Runs a published version on disk, without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hangtag import contract
from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..base_path import newest
from ..data.dataset import Images
from ..errors import DataError

_BATCH = 256


def predict(path: Path, images: Images) -> tuple[np.ndarray, list[str]]:
    """The probabilities, float32 [N, C], of uint8 `images`, and the C class names.

    `path` is a version's folder, or a base path, for its newest version. Raises InvalidInput for other folders and for
    images of another shape, DataError for a version that cannot be run.
    """
    tf = require("tensorflow", extra="export", what="evaluating")
    folder = path if (path / "saved_model.pb").is_file() else newest(path)
    if folder is None:
        raise InvalidInput(f"{path} is neither a version (it has no saved_model.pb) nor a base path with versions")
    try:
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            loader = tf.compat.v1.saved_model.loader
            signatures = loader.load(session, [tf.saved_model.SERVING], str(folder)).signature_def
            serving, names = signatures[contract.SERVING_DEFAULT], signatures[contract.LABELS]
            _check_shape(folder, serving.inputs[contract.IMAGES].tensor_shape, images.shape[1:])
            output, source = serving.outputs[contract.PROBABILITIES].name, serving.inputs[contract.IMAGES].name
            parts = [
                session.run(output, {source: images[start : start + _BATCH]}) for start in range(0, len(images), _BATCH)
            ]
            probabilities = np.concatenate(parts)
            index = {names.inputs["index"].name: np.arange(probabilities.shape[1])}
            class_names = [name.decode() for name in session.run(names.outputs["class_name"].name, index)]
    except (OSError, KeyError, ValueError, RuntimeError, tf.errors.OpError) as error:
        if isinstance(error, InvalidInput):  # also a ValueError
            raise
        raise DataError(f"version {folder} cannot be run ({str(error).splitlines()[0]})") from error
    return probabilities, class_names


def _check_shape(folder: Path, expected: object, shape: tuple[int, ...]) -> None:
    sizes = [dimension.size for dimension in expected.dim][1:]  # type: ignore[attr-defined]
    if len(sizes) != len(shape) or any(size not in (-1, given) for size, given in zip(sizes, shape, strict=True)):
        raise InvalidInput(f"version {folder} takes images of {sizes}, not of {list(shape)}")
