"""Batches for training, in an order that depends only on the seed and the epoch.

So a training that continues from a checkpoint sees the same batches as one that was not interrupted, and the images of
a folder are shuffled without loading all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hangtag.optional import require

from ..data.dataset import Images
from . import augmentation

_GROUP = 125  # the most batches in a group
_GROUP_VALUES = 8_000_000  # the most pixel values in a group: 32 MB as float32


@dataclass(frozen=True)
class Plan:
    """How the images of an epoch are divided: (position of the first image, images, batch size) of each group.

    A group is several batches that one call of a compiled graph trains on. If not `grouped`, each batch is a group.
    """

    groups: tuple[tuple[int, int, int], ...]
    grouped: bool
    steps: int  # of the optimizer, in an epoch

    def __len__(self) -> int:
        return len(self.groups)


def plan(count: int, shape: tuple[int, ...], batch_size: int, *, grouped: bool) -> Plan:
    """All batches of `count` images of `shape`; the last one may be smaller."""
    most = _GROUP if grouped else 1
    most = max(1, min(most, _GROUP_VALUES // (batch_size * int(np.prod(shape)))))
    whole = count // batch_size
    size = next(size for size in range(min(most, max(whole, 1)), 0, -1) if whole % size == 0 or size <= most // 2)
    starts = range(0, whole * batch_size, size * batch_size)
    groups = [(start, min(size * batch_size, whole * batch_size - start), batch_size) for start in starts]
    rest = count - whole * batch_size
    if rest:
        groups.append((count - rest, rest, rest))
    return Plan(tuple(groups), grouped, whole + bool(rest))


def training(
    images: Images,
    labels: np.ndarray,
    plan: Plan,
    *,
    seed: int,
    epochs: range,
    augment: str | None = None,
    class_weights: np.ndarray | None = None,
) -> Any:
    """A tf.data.Dataset of all batches of `epochs`: float32 images 0..1 [B, ...], labels [B], and any weights [B].

    If the plan groups batches, they are images [S, B, ...] and labels [S, B], without weights.
    """
    tf = require("tensorflow", extra="export", what="training")
    count = len(labels)
    groups = tf.constant(plan.groups, tf.int64)
    change = augmentation.BY_NAME[augment] if augment else _divided
    load = _loader(images)

    def batch(number: Any) -> tuple[Any, ...]:
        epoch = number // len(plan)
        place, size, each = tf.unstack(groups[number % len(plan)])
        seeds = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.uint32)
        places = tf.range(place, place + size)
        places = tf.random.experimental.index_shuffle(places, seeds, tf.constant(count - 1, tf.int64))
        chosen = tf.gather(labels, places)
        pixels = change(load(places), number * 2**32 + seed)
        if plan.grouped:
            parts = tf.stack([size // each, each])
            pixels = tf.reshape(pixels, tf.concat([parts, images.shape[1:]], axis=0))
            return tf.ensure_shape(pixels, (None, None, *images.shape[1:])), tf.reshape(chosen, parts)
        return (pixels, chosen) if class_weights is None else (pixels, chosen, tf.gather(class_weights, chosen))

    batch = tf.autograph.experimental.do_not_convert(batch)  # it only uses TensorFlow's operations
    numbers = tf.data.Dataset.range(epochs.start * len(plan), epochs.stop * len(plan))
    return _in_parallel(numbers, batch)


def in_order(images: Images, labels: np.ndarray, batch_size: int) -> Any:
    """A tf.data.Dataset of batches in the images' order, for validation."""
    tf = require("tensorflow", extra="export", what="training")
    load = _loader(images)

    def batch(place: Any) -> tuple[Any, Any]:
        places = tf.range(place, tf.minimum(place + batch_size, len(labels)))
        return _divided(load(places), place), tf.gather(labels, places)

    batch = tf.autograph.experimental.do_not_convert(batch)
    return _in_parallel(tf.data.Dataset.range(0, len(labels), batch_size), batch)


def _in_parallel(numbers: Any, batch: Callable[..., Any]) -> Any:
    """A dataset of `batch(number)` for each number, in order.

    Autotuning is off: there is nothing to tune, and at the end of a training its thread may still sleep for a minute
    (TensorFlow 2.21, RootDataset::Iterator's destructor).
    """
    tf = require("tensorflow", extra="export", what="training")
    options = tf.data.Options()
    options.autotune.enabled = False
    return numbers.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2).with_options(options)


def _divided(images: Any, seed: Any) -> Any:
    tf = require("tensorflow", extra="export", what="training")
    return tf.cast(images, tf.float32) / 255.0


def _loader(images: Images) -> Any:
    """A function in the graph from int64 positions to uint8 images."""
    tf = require("tensorflow", extra="export", what="training")
    if isinstance(images, np.ndarray):
        constant = tf.constant(images)
        return lambda places: tf.gather(constant, places)

    def load(places: Any) -> Any:
        loaded = tf.numpy_function(lambda index: images[index], [places], tf.uint8, stateful=False)
        return tf.ensure_shape(loaded, (None, *images.shape[1:]))

    return load
