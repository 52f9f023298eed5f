"""Writes the SavedModel with the six signatures that hangtag/contract.py defines.

All preprocessing is in the graph, so training and serving cannot differ. Every output has a batch dimension, which
server-side batching and REST's row form need.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.optional import require

from ..data.image_decoding import decode
from ..errors import ExportError

TOP = 5
"""How many classes `top_classes` and `classify` return, if there are so many."""


@dataclass(frozen=True)
class Classifier:
    """Functions in the graph from images to probabilities, and what is saved with them.

    `from_pixels` takes float32 [N, *image_shape] 0..255, and `from_unit` the same images as 0..1. Both return float32
    [N, C] for C classes. `output` is the name of this output in the signatures.
    """

    image_shape: tuple[int, ...]  # (H, W), or (H, W, 3)
    from_pixels: Callable[[Any], Any]
    from_unit: Callable[[Any], Any]
    output: str = contract.PROBABILITIES
    variables: tuple[Any, ...] = ()  # tf.Variable objects that the functions read
    resources: tuple[Any, ...] = ()  # other objects to save: a loaded SavedModel
    original: Any = None  # the model's original signature, a concrete function

    @classmethod
    def of_keras(cls, model: Any) -> Classifier:
        """The classifier for a Keras model that takes float32 images 0..1 and returns probabilities."""
        tf = require("tensorflow", extra="export", what="exporting")
        shape = tuple(model.input_shape[1:])
        spec = tf.TensorSpec((None, *shape), tf.float32, name="images")
        score = tf.function(lambda images: model(images, training=False), input_signature=[spec], autograph=False)
        concrete = score.get_concrete_function()
        return cls(
            shape, lambda pixels: concrete(pixels / 255.0), concrete, variables=captured_variables(concrete, model)
        )


def captured_variables(concrete: Any, model: Any) -> tuple[Any, ...]:
    """The tf.Variable objects of `model` that a concrete function reads."""
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    captured = {id(tensor) for tensor in concrete.captured_inputs}
    for variable in model.variables:
        own = getattr(variable, "value", variable)  # in Keras 3 the tf.Variable; in Keras 2 a method
        own = variable if callable(own) else own
        if id(getattr(own, "handle", None)) in captured:
            by_handle.setdefault(id(own.handle), own)
    return tuple(by_handle.values())


def write(classifier: Classifier, class_names: Sequence[str], folder: Path) -> None:
    """Write `classifier` with all signatures into `folder`. Raises ExportError."""
    tf = require("tensorflow", extra="export", what="exporting")
    shape, output = classifier.image_shape, classifier.output
    k = min(TOP, len(class_names))
    names = tf.constant(list(class_names))

    def from_pixels(images: Any) -> Any:
        return classifier.from_pixels(tf.cast(images, tf.float32))

    def from_files(files: Any) -> Any:
        image = tf.TensorSpec(shape, tf.uint8)
        # Four at a time: a large photograph takes some 200 MB while it is decoded and resized.
        return from_pixels(
            tf.map_fn(lambda file: decode(file, shape), files, fn_output_signature=image, parallel_iterations=4)
        )

    def top(scores: Any) -> dict[str, Any]:
        best = tf.math.top_k(scores, k)
        return {"classes": tf.gather(names, best.indices), "scores": best.values}

    def from_examples(examples: Any) -> Any:
        features = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        return from_files(features["image"])

    pixels = tf.TensorSpec((None, *shape), tf.uint8, name=contract.IMAGES)
    floats = tf.TensorSpec((None, *shape), tf.float32, name=contract.IMAGES)
    files = tf.TensorSpec((None,), tf.string, name=contract.IMAGES)
    index = tf.TensorSpec((None,), tf.int64, name="index")
    examples = tf.TensorSpec((None,), tf.string, name="inputs")
    functions = {
        contract.SERVING_DEFAULT: (lambda images: {output: from_pixels(images)}, pixels),
        contract.NORMALIZED_IMAGES: (lambda images: {output: classifier.from_unit(images)}, floats),
        contract.ENCODED_IMAGES: (lambda images: {output: from_files(images)}, files),
        contract.TOP_CLASSES: (lambda images: top(from_pixels(images)), pixels),
        contract.LABELS: (lambda index: {"class_name": tf.gather(names, index)}, index),
        contract.CLASSIFY: (lambda inputs: top(from_examples(inputs)), examples),
    }
    signatures = {
        name: tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
        for name, (function, spec) in functions.items()
    }
    if classifier.original is not None:
        signatures[contract.ORIGINAL] = classifier.original
    # A module with the plain variables, not with the Keras model, for which TensorFlow would save each variable twice.
    module = tf.Module()
    module.weights = list(classifier.variables)
    module.resources = list(classifier.resources)
    with writing(folder):
        try:
            tf.saved_model.save(module, str(folder), signatures=signatures)
        except (AssertionError, ValueError, NotImplementedError) as error:
            raise ExportError(
                f"TensorFlow cannot save this model: {_first_line(error)}; nothing was published"
            ) from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of the disk or of TensorFlow into an ExportError, while a version is written into `folder`."""
    tf = require("tensorflow", extra="export", what="exporting")
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise ExportError(f"cannot write to {folder.parent}: {_reason(error)}; nothing was published") from error


def _reason(error: Exception) -> str:
    """The error of the disk; TensorFlow wraps it in names of its own files and functions."""
    message = str(error)
    for known in (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)):
        if known in message:
            return known
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def inputs_of_all_signatures(images: np.ndarray, classes: int) -> dict[str, dict[str, Any]]:
    """The inputs of each signature for the same uint8 `images`: signature name to arrays by input name."""
    tf = require("tensorflow", extra="export", what="exporting")
    files = [tf.io.encode_png(image if image.ndim == 3 else image[..., np.newaxis]).numpy() for image in images]

    def example(file: bytes) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
        serialized: bytes = tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
        return serialized

    return {
        contract.SERVING_DEFAULT: {contract.IMAGES: images},
        contract.NORMALIZED_IMAGES: {contract.IMAGES: images.astype(np.float32) / np.float32(255)},
        contract.ENCODED_IMAGES: {contract.IMAGES: np.array(files, object)},
        contract.TOP_CLASSES: {contract.IMAGES: images},
        contract.LABELS: {"index": np.arange(classes)},
        contract.CLASSIFY: {"inputs": np.array([example(file) for file in files], object)},
    }
