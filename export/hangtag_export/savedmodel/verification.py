"""Loads a written version like TensorFlow Serving, runs every signature, and compares the results with the model's.

TensorFlow Serving loads a model in a Session with the MetaGraph's restore op. `tf.saved_model.load` would prove
nothing: it accepts models that the C++ server cannot serve. And only a new process shows that the files are complete.
This module is the program of that process. It reads its task, ``[folder, images.npy, classes, answers.npz]`` as JSON,
from standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.optional import import_for_commands, require

from ..errors import ExportError
from . import warmup
from .signatures import inputs_of_all_signatures

TOLERANCE = 1e-5
"""The largest allowed difference of a probability; float32 sums in another order differ by about 1e-7."""

TOLERANCE_16_BITS = 2e-2
"""The same for a model that computes in float16 or bfloat16, which have 11 and 8 significant bits."""


class Verifier:
    """Verifies one version in a new process, which imports TensorFlow while the version is written.

    It is a context manager: enter it before the version is written.
    """

    def __enter__(self) -> Verifier:
        self._process = start_process()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:  # closes its pipes, and waits
            pass

    def verify(
        self,
        folder: Path,
        images: np.ndarray,
        expected: np.ndarray,
        class_names: Sequence[str],
        *,
        output: str = contract.PROBABILITIES,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Raise ExportError unless all signatures return `expected` (float [N, C]) and the names for uint8 `images`.

        `output` is the name of the probabilities in the signatures.
        """
        with tempfile.TemporaryDirectory(prefix="hangtag-verify-") as scratch:
            images_file, answers_file = Path(scratch, "images.npy"), Path(scratch, "answers.npz")
            np.save(images_file, images)
            task = [str(folder), str(images_file), len(class_names), str(answers_file)]
            _, stderr = self._process.communicate(json.dumps(task))
            if self._process.returncode:
                reason = (stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ExportError(f"the written version does not load and run as TensorFlow Serving would: {reason}")
            with np.load(answers_file) as answers:
                _compare(dict(answers), expected, np.array(class_names), output, tolerance)


def start_process() -> subprocess.Popen[str]:
    """A new process of this very interpreter, which reads its task from standard input."""
    command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)  # noqa: S603


def _compare(
    answers: dict[str, np.ndarray], expected: np.ndarray, names: np.ndarray, output: str, tolerance: float
) -> None:
    for signature in (contract.SERVING_DEFAULT, contract.NORMALIZED_IMAGES, contract.ENCODED_IMAGES):
        _require_close(signature, answers[f"{signature}.{output}"], expected, tolerance)
    if answers[f"{contract.LABELS}.class_name"].tolist() != names.tolist():
        raise ExportError("signature 'labels' of the written version does not give the class names")
    index_of = {name: index for index, name in enumerate(names.tolist())}
    for signature in (contract.TOP_CLASSES, contract.CLASSIFY):
        classes, scores = answers[f"{signature}.classes"], answers[f"{signature}.scores"]
        chosen = np.array([[index_of[name] for name in row] for row in classes.tolist()])
        _require_close(signature, scores, np.take_along_axis(expected, chosen, axis=1), tolerance)
        _require_close(signature, scores, -np.sort(-expected, axis=1)[:, : scores.shape[1]], tolerance)


def _require_close(signature: str, actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=0, atol=tolerance):
        worst = np.abs(actual - expected).max() if actual.shape == expected.shape else float("nan")
        raise ExportError(
            f"signature {signature!r} of the written version does not give the outputs of Keras: "
            f"shape {actual.shape}, largest difference {worst:.3g}"
        )


# ---- in the new process


def _answers(folder: str, images: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The outputs of every signature for `images`, run in a Session. The warmup records must run, too."""
    tf = require("tensorflow", extra="export", what="exporting")
    answers: dict[str, np.ndarray] = {}
    inputs, records = inputs_of_all_signatures(images, classes), warmup.read(Path(folder))
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], folder)
        signatures = meta_graph.signature_def

        def run(name: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
            fetches = {alias: info.name for alias, info in signatures[name].outputs.items()}
            feeds = {signatures[name].inputs[alias].name: array for alias, array in arrays.items()}
            outputs: dict[str, np.ndarray] = session.run(fetches, feeds)
            return outputs

        for name, arrays in inputs.items():
            for output, array in run(name, arrays).items():
                answers[f"{name}.{output}"] = (
                    np.array([text.decode() for text in array.ravel()]).reshape(array.shape)
                    if array.dtype == object
                    else array
                )
        for name, arrays in records:
            run(name, arrays)
    return answers


def main() -> None:
    """The program of the new process."""
    require("tensorflow", extra="export", what="exporting")
    if task := sys.stdin.read():  # otherwise there is no version to verify
        folder, images_file, classes, answers_file = json.loads(task)
        np.savez(answers_file, **_answers(folder, np.load(images_file), classes))  # type: ignore[arg-type]


if __name__ == "__main__":
    import_for_commands()
    main()
