"""Changes training images at random in every epoch, in ways that do not change their class."""

from __future__ import annotations

import math
from typing import Any

from hangtag.optional import require

# The largest changes:
SHIFT = 2 / 28  # of photos, in each direction, as a part of the size
SMALL_SHIFT = 1 / 28  # of small images: one pixel of 28
ROTATION = math.radians(30)  # in both directions
ZOOM = 1.35  # the size is multiplied or divided by this
STRETCH = 1.2  # the width is multiplied and the height divided by this, or the reverse
CONTRAST = 0.4  # for each colour: 0.6 to 1.4 times the distance from the mean
BRIGHTNESS = 0.1  # added to or subtracted from each colour
MIXTURE = 0.15  # of another colour that is added to or subtracted from each colour


def shift(images: Any, seed: Any) -> Any:
    """Mirror half of the images and shift all of them; uint8 [B, H, W] or [B, H, W, C] in, float32 0..1 out.

    The space at the edge is filled by reflection. The same `seed`, an int64, gives the same images.
    """
    tf = require("tensorflow", extra="export", what="training")
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    most = max(1, round(SMALL_SHIFT * min(height, width)))
    images = _mirrored(images, seed)
    edges = [[0, 0], [most, most], [most, most]] + [[0, 0]] * (len(images.shape) - 3)
    images = tf.pad(images, edges, "REFLECT")
    shifts = tf.random.stateless_uniform([2, count, 1], (seed, 1), 0, 2 * most + 1, tf.int32)
    images = tf.gather(images, shifts[0] + tf.range(height), axis=1, batch_dims=1)
    images = tf.gather(images, shifts[1] + tf.range(width), axis=2, batch_dims=1)
    return tf.cast(images, tf.float32) / 255.0


def photo(images: Any, seed: Any) -> Any:
    """Mirror half of the images; rotate, zoom, stretch and shift all, and change colours. Otherwise as `shift`."""
    tf = require("tensorflow", extra="export", what="training")
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    grey = len(images.shape) == 3
    pixels = tf.cast(_mirrored(images, seed), tf.float32) / 255.0
    angle, zoom, stretch, down, right = tf.unstack(tf.random.stateless_uniform([5, count], (seed, 1), -1.0, 1.0))
    angle, zoom, stretch = angle * ROTATION, ZOOM**zoom, STRETCH**stretch
    down, right = down * SHIFT * height, right * SHIFT * width
    cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    # Output pixel (x, y) comes from (a x + b y + c, d x + e y + f): a rotation around the centre, then a shift.
    a, b, d, e = cos / stretch, -sin / stretch, sin * stretch, cos * stretch
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    c = middle_x - a * middle_x - b * middle_y + right
    f = middle_y - d * middle_x - e * middle_y + down
    zero = tf.zeros_like(a)
    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[..., tf.newaxis] if grey else pixels,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    mean = tf.reduce_mean(pixels, axis=[1, 2], keepdims=True)
    contrast, brightness = tf.unstack(
        tf.random.stateless_uniform(tf.concat([[2], tf.shape(mean)], axis=0), (seed, 2), -1.0, 1.0)
    )
    pixels = (pixels - mean) * (1 + CONTRAST * contrast) + mean + BRIGHTNESS * brightness
    if not grey:
        mixture = tf.eye(3) + MIXTURE * tf.random.stateless_uniform([count, 3, 3], (seed, 3), -1.0, 1.0)
        pixels = tf.einsum("nhwc,ncd->nhwd", pixels, mixture)
    return tf.reshape(tf.clip_by_value(pixels, 0.0, 1.0), tf.concat([[count], images.shape[1:]], axis=0))


BY_NAME = {"shift": shift, "photo": photo}


def _mirrored(images: Any, seed: Any) -> Any:
    tf = require("tensorflow", extra="export", what="training")
    chosen = tf.random.stateless_uniform([tf.shape(images)[0]], (seed, 0)) < 0.5
    return tf.where(tf.reshape(chosen, [-1] + [1] * (len(images.shape) - 1)), tf.reverse(images, [2]), images)
