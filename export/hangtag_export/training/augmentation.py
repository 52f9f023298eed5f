"""Training batches of images, mirrored and shifted anew in every epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from hangtag.optional import require

_SHIFT = 2  # pixels, at most, in each direction


def batches(images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int) -> Any:
    """A tf.data.Dataset of float32 images 0..1 [B, H, W] (or [B, H, W, 3]) and labels [B], shuffled each epoch.

    The same `seed` gives the same batches, pixel for pixel: every batch has a seed of its own.
    """
    tf = require("tensorflow", extra="export", what="training")
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    examples = examples.shuffle(len(images), seed=seed).batch(batch_size)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    augment = tf.autograph.experimental.do_not_convert(_augment)  # it is TensorFlow all through
    return tf.data.Dataset.zip((examples, seeds)).map(augment).prefetch(4)


def _augment(batch: tuple[Any, Any], seed: Any) -> tuple[Any, Any]:
    """Half of the images mirrored, each shifted by up to two pixels; what comes in at the edge is a reflection."""
    tf = require("tensorflow", extra="export", what="training")
    images, labels = batch
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    mirrored = tf.random.stateless_uniform([count], (seed, 0)) < 0.5
    images = tf.where(tf.reshape(mirrored, [-1] + [1] * (len(images.shape) - 1)), tf.reverse(images, [2]), images)
    edges = [[0, 0], [_SHIFT, _SHIFT], [_SHIFT, _SHIFT]] + [[0, 0]] * (len(images.shape) - 3)
    images = tf.pad(images, edges, "REFLECT")
    shifts = tf.random.stateless_uniform([2, count, 1], (seed, 1), 0, 2 * _SHIFT + 1, tf.int32)
    images = tf.gather(images, shifts[0] + tf.range(height), axis=1, batch_dims=1)
    images = tf.gather(images, shifts[1] + tf.range(width), axis=2, batch_dims=1)
    return tf.cast(images, tf.float32) / 255.0, labels
