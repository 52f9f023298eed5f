"""The SavedModel and its six signatures: the contract between export, servers and clients.

    serving_default    images uint8 [N, H, W] (or [N, H, W, 3])   -> probabilities float32 [N, C]
    normalized_images  images float32 of that shape, 0..1         -> probabilities
    encoded_images     images string [N], PNG or JPEG files       -> probabilities
    top_classes        images uint8                               -> classes string [N, k], scores float32 [N, k]
    labels             index int64 [K]                            -> class_name string [K]
    classify           inputs string [N], tf.Example with `image` -> classes, scores

All preprocessing is in the graph, so training and serving cannot drift apart, and every output has a batch dimension,
so that server-side batching and REST's row form work.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.optional import require

from ..errors import ExportError

TOP = 5
"""Classes in the answers of `top_classes` and `classify`, or all of them if there are fewer."""


def write(model: Any, class_names: Sequence[str], folder: Path) -> None:
    """Write `model` (float32 images 0..1 in, probabilities out) with all signatures into `folder`."""
    tf = require("tensorflow", extra="export", what="exporting")
    keras = require("keras", extra="export", what="exporting")
    shape = tuple(model.input_shape[1:])
    names = tf.constant(list(class_names))
    k = min(TOP, len(class_names))

    def probabilities(floats: Any) -> Any:
        return model(floats, training=False)

    def from_pixels(images: Any) -> Any:
        return probabilities(tf.cast(images, tf.float32) / 255.0)

    def from_files(files: Any) -> Any:
        image = tf.TensorSpec(shape, tf.uint8)
        return from_pixels(tf.map_fn(lambda file: decode(file, shape), files, fn_output_signature=image))

    def top(scores: Any) -> dict[str, Any]:
        best = tf.math.top_k(scores, k)
        return {"classes": tf.gather(names, best.indices), "scores": best.values}

    def from_examples(examples: Any) -> Any:
        features = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        return from_files(features["image"])

    # ExportArchive with track(): a Keras model that is merely an attribute of a tf.Module loads in Python, and then
    # TensorFlow Serving answers "Could not find variable".
    archive = keras.export.ExportArchive()
    archive.track(model)
    pixels = tf.TensorSpec((None, *shape), tf.uint8, name="images")
    floats = tf.TensorSpec((None, *shape), tf.float32, name="images")
    files = tf.TensorSpec((None,), tf.string, name="images")
    for name, function, spec in (
        ("serving_default", lambda images: {"probabilities": from_pixels(images)}, pixels),
        ("normalized_images", lambda images: {"probabilities": probabilities(images)}, floats),
        ("encoded_images", lambda images: {"probabilities": from_files(images)}, files),
        ("top_classes", lambda images: top(from_pixels(images)), pixels),
        (
            "labels",
            lambda index: {"class_name": tf.gather(names, index)},
            tf.TensorSpec((None,), tf.int64, name="index"),
        ),
        ("classify", lambda inputs: top(from_examples(inputs)), tf.TensorSpec((None,), tf.string, name="inputs")),
    ):
        archive.add_endpoint(name, function, input_signature=[spec])
    with writing(folder):
        archive.write_out(str(folder), verbose=False)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk says while a version is written into `folder` into one ExportError."""
    tf = require("tensorflow", extra="export", what="exporting")
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise ExportError(f"cannot write to {folder.parent}: {_reason(error)}; nothing was published") from error


def _reason(error: Exception) -> str:
    """What the disk said; TensorFlow wraps it in the names of its own files and functions."""
    words = str(error)
    for said in (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)):
        if said in words:
            return said
    return words.splitlines()[0]


def inputs_of_all_signatures(images: np.ndarray, classes: int) -> dict[str, dict[str, Any]]:
    """The same uint8 `images` as each signature wants them: signature name to arrays by input name."""
    tf = require("tensorflow", extra="export", what="exporting")
    files = [tf.io.encode_png(image if image.ndim == 3 else image[..., np.newaxis]).numpy() for image in images]

    def example(file: bytes) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
        serialized: bytes = tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
        return serialized

    return {
        "serving_default": {"images": images},
        "normalized_images": {"images": images.astype(np.float32) / np.float32(255)},
        "encoded_images": {"images": np.array(files, object)},
        "top_classes": {"images": images},
        "labels": {"index": np.arange(classes)},
        "classify": {"inputs": np.array([example(file) for file in files], object)},
    }


def decode(file: Any, shape: Sequence[int]) -> Any:
    """One PNG or JPEG file as uint8 pixels of `shape`, in the graph; training on a folder uses the same code.

    The decoder greys the image or makes it RGB, and drops alpha.
    """
    tf = require("tensorflow", extra="export", what="exporting")
    channels = shape[2] if len(shape) == 3 else 1
    return resize(tf.io.decode_image(file, channels=channels, expand_animations=False), shape)


def resize(image: Any, shape: Sequence[int]) -> Any:
    """uint8 [H, W, C] as uint8 of `shape`, in the graph: stretched without regard to aspect, bilinear, antialiased.

    An image that already has the size keeps its pixels exactly.
    """
    tf = require("tensorflow", extra="export", what="exporting")
    image = tf.image.resize(image, shape[:2], method="bilinear", antialias=True)
    return tf.cast(tf.round(tf.reshape(image, shape)), tf.uint8)
