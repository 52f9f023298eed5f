"""Converts images with channels last and pixels 0 to 255 to the layout and the pixel values that a model takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..contract import CAFFE_MEAN, IMAGENET_DEVIATION, IMAGENET_MEAN
from ..errors import InvalidInput

_MEAN, _DEVIATION = np.array(IMAGENET_MEAN, "f4"), np.array(IMAGENET_DEVIATION, "f4")
_CAFFE_MEAN = np.array(CAFFE_MEAN, "f4")


class Layout(NamedTuple):
    """The order of the axes of one image in the model's input ("HW", "HWC" or "CHW") and their sizes; None is open."""

    order: str
    height: int | None
    width: int | None
    channels: int

    @property
    def axis(self) -> int:
        """The axis of the channels in a batch."""
        return 1 if self.order == "CHW" else -1


def layout_of(row: tuple[int | None, ...] | None) -> Layout | None:
    """The layout of images of the shape `row`, without the batch; None if that is not the shape of an image.

    >>> layout_of((28, 28)), layout_of((3, 224, 224))
    (Layout(order='HW', height=28, width=28, channels=1), Layout(order='CHW', height=224, width=224, channels=3))
    """
    if row is None or len(row) not in (2, 3):
        return None
    if len(row) == 2:
        return Layout("HW", *row, 1)
    if row[0] in (1, 3) and row[2] not in (1, 3):
        return Layout("CHW", row[1], row[2], row[0])
    return Layout("HWC", row[0], row[1], row[2]) if row[2] in (1, 3) else None


def arranged(images: np.ndarray, layout: Layout) -> np.ndarray | None:
    """A batch [N, H, W] or [N, H, W, C] in `layout`; None if its size or its number of channels differs.

    >>> arranged(np.zeros((5, 28, 28)), layout_of((28, 28, 1))).shape
    (5, 28, 28, 1)
    >>> arranged(np.zeros((5, 32, 32, 3)), layout_of((3, 32, 32))).shape
    (5, 3, 32, 32)
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] != layout.channels:
        return None
    for size, expected in zip(images.shape[1:3], (layout.height, layout.width), strict=True):
        if expected not in (None, size):
            return None
    if layout.order == "HW":
        return images[..., 0]
    return images if layout.order == "HWC" else np.moveaxis(images, -1, 1)


def scaled(images: np.ndarray, pixels: str, axis: int) -> np.ndarray:
    """Whole numbers 0..255 as float32 in `pixels`, one of the contract's RANGES; `axis` is the axis of the channels.

    >>> scaled(np.array([[[0, 255]]], np.uint8), "-1..1", -1).tolist()
    [[[-1.0, 1.0]]]
    """
    values: np.ndarray = images.astype(np.float32)
    if pixels == "0..255":
        return values
    if pixels == "0..1":
        return values / np.float32(255)
    if pixels == "-1..1":
        return values / np.float32(127.5) - np.float32(1)
    if images.ndim != 4 or images.shape[axis] != 3:
        raise InvalidInput(f"pixels={pixels!r} is for models that take colour images, and this one takes grey ones")
    shape = [3 if at == axis % 4 else 1 for at in range(4)]
    if pixels == "caffe":
        values = np.flip(values, axis) - _CAFFE_MEAN.reshape(shape)
    else:
        values = (values / np.float32(255) - _MEAN.reshape(shape)) / _DEVIATION.reshape(shape)
    return values
