"""The input of a trained model: the layout of its images, and the range of its pixels."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.errors import InvalidInput
from hangtag.optional import require

from .loading import Source

_TRANSPARENT = frozenset(
    {"InputLayer", "Reshape", "Flatten", "Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D", "Permute"}
    | {"Concatenate", "Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise"}
    | {"RandAugment", "AugMix", "MixUp", "CutMix"}
)
"""Layers that do not change the range of pixels. The layers Random… belong to them too: they only act in training."""


@dataclass(frozen=True)
class ImageInput:
    """How uint8 images [N, H, W] or [N, H, W, 3] become the input of the model."""

    image_shape: tuple[int, ...]  # (H, W), or (H, W, 3)
    layout: str  # of one image in the model's input: "HW", "HWC", "CHW" or "flat"
    batch: int | None  # 1 for a model that takes one image at a time
    pixels: str  # one of contract.RANGES
    is_integer: bool

    def prepare(self, images: Any, *, unit: bool = False) -> Any:
        """Convert float32 0..255 (with `unit`, 0..1) to the model's range and layout. Takes tensors or numpy arrays."""
        images = self._scaled(images, unit)
        if self.layout == "flat":
            return images.reshape(len(images), -1) if isinstance(images, np.ndarray) else _flat(images)
        if self.layout == "HW" or (self.layout == "HWC" and len(self.image_shape) == 3):
            return images
        if len(self.image_shape) == 2:
            return images[..., None] if self.layout == "HWC" else images[:, None]
        return _transposed(images)

    def _scaled(self, images: Any, unit: bool) -> Any:
        one = np.float32(1)
        if self.pixels == "0..1":
            return images if unit else images / np.float32(255)
        if self.pixels == "imagenet":
            mean = np.array(contract.IMAGENET_MEAN, np.float32)
            deviation = np.array(contract.IMAGENET_DEVIATION, np.float32)
            return ((images if unit else images / np.float32(255)) - mean) / deviation
        raw = images * np.float32(255) if unit else images
        if self.pixels == "0..255":
            return raw
        if self.pixels == "-1..1":
            return raw / np.float32(127.5) - one
        return raw[..., ::-1] - np.array(contract.CAFFE_MEAN, np.float32)


def _flat(images: Any) -> Any:
    tf = require("tensorflow", extra="export", what="publishing a model")
    return tf.reshape(images, (-1, int(np.prod(images.shape[1:]))))


def _transposed(images: Any) -> Any:
    if isinstance(images, np.ndarray):
        return images.transpose(0, 3, 1, 2)
    return require("tensorflow", extra="export", what="publishing a model").transpose(images, (0, 3, 1, 2))


def image_input(
    shape: Sequence[int | None], size: tuple[int, int] | None, pixels: str, *, is_integer: bool
) -> ImageInput:
    """Describe the input of a model that takes `shape`, including the batch. Raises InvalidInput with advice."""
    batch, *dimensions = shape
    if batch not in (None, 1):
        raise InvalidInput(f"the model takes exactly {batch} images at a time: save it with an open batch size, or 1")
    layout, height, width, channels = _layout(dimensions, size)
    if size is not None:
        for given, fixed in zip(size, (height, width), strict=True):
            if fixed not in (None, given):
                raise InvalidInput(
                    f"the model takes images of {height}x{width}, not {size[0]}x{size[1]}: leave --image-size out"
                )
        height, width = size
    if height is None or width is None:
        raise InvalidInput("the model takes images of any size: choose one with --image-size, like 224 or 240x320")
    if channels == 1 and pixels in ("imagenet", "caffe"):
        raise InvalidInput(f"--pixels {pixels} is for colour images, and the model takes grey ones")
    image_shape = (height, width) if channels == 1 else (height, width, 3)
    return ImageInput(image_shape, layout, batch, pixels, is_integer)


def size_of(given: Any) -> tuple[int, int] | None:
    """Height and width from a caller's argument: a whole number, or two. Raises InvalidInput."""
    if given is None:
        return None
    try:
        numbers = [operator.index(each) for each in (given if isinstance(given, (list, tuple)) else (given, given))]
    except TypeError:
        numbers = []
    if len(numbers) != 2 or min(numbers) < 1 or any(isinstance(each, bool) for each in (given, *numbers)):
        raise InvalidInput(f"image_size {given!r} is neither a number of pixels, like 224, nor two, like (240, 320)")
    return numbers[0], numbers[1]


def _layout(dimensions: Sequence[int | None], size: tuple[int, int] | None) -> tuple[str, int | None, int | None, int]:
    """Layout, height, width and channels."""
    listed = ", ".join("?" if each is None else str(each) for each in dimensions)
    if len(dimensions) == 1:
        count = dimensions[0]
        if size is None:
            raise InvalidInput(
                f"the model takes [N, {listed}], flattened images: give their size with --image-size, like 28"
            )
        for channels in (1, 3):
            if count == size[0] * size[1] * channels:
                return "flat", *size, channels
        raise InvalidInput(
            f"{size[0]}x{size[1]} pixels, grey or in colour, are not the {listed} numbers that the model takes"
        )
    if len(dimensions) == 2:
        return "HW", dimensions[0], dimensions[1], 1
    if len(dimensions) == 3:
        first, middle, last = dimensions
        if last in (1, 3):
            return "HWC", first, middle, last
        if first in (1, 3):
            return "CHW", middle, last, first
    raise InvalidInput(
        f"the model takes [N, {listed}]: only [N, H, W], [N, H, W, 1 or 3] and [N, 1 or 3, H, W] can be published"
    )


# ---- the range of a model's pixels


def pixel_range(source: Source, declared: str | None, say: Callable[[str], None]) -> str:
    """The range of a model's pixels, as declared or as the model shows it. Raises InvalidInput."""
    dtype = source.dtype
    if dtype.is_integer and (dtype.is_quantized or dtype.max < 255):
        raise InvalidInput(
            f"the model takes {dtype.name}, which cannot hold pixels 0..255: save it with an input of uint8 or float32"
        )
    if not dtype.is_integer and not dtype.is_floating:
        raise InvalidInput(f"the model takes {dtype.name}: only an input of numbers, like uint8 or float32, has pixels")
    if dtype.is_integer and declared not in (None, "0..255"):
        raise InvalidInput(
            f"the model takes whole numbers, of {dtype.name}, which pixels {declared} are not: leave out --pixels"
        )
    known = None if source.keras_model is None else known_pixels(source.keras_model)
    if dtype.is_integer:
        known = ("0..255", f"input {source.input_name!r}, of {dtype.name},")
    if declared is None and known is None:
        raise InvalidInput(
            "the pixel range cannot be derived from the model: give the range that it was trained with as --pixels, "
            f"one of {', '.join(contract.RANGES)}"
        )
    if declared is not None and known is not None and declared != known[0]:
        say(f"note: {known[1]} is for pixels {known[0]}, but --pixels {declared} is used")
    return declared or (known or ("",))[0]


def known_pixels(model: Any) -> tuple[str, str] | None:
    """The pixel range that the first layer of a Keras model shows, and the layer's name; None if it shows none."""
    for layer in _leading_layers(model):
        name = type(layer).__name__
        if name in _TRANSPARENT or name.startswith("Random"):
            continue
        pixels = _rescaled(layer) if name == "Rescaling" else _normalized(layer) if name == "Normalization" else None
        return None if pixels is None else (pixels, f"{name} {layer.name!r}")
    return None


def _leading_layers(model: Any) -> Iterator[Any]:
    """The layers in order, including those of nested models. A subclassed model does not show their order."""
    for layer in getattr(model, "layers", ()):
        if getattr(layer, "layers", None) and (getattr(layer, "inputs", None) or type(layer).__name__ == "Pipeline"):
            yield from _leading_layers(layer)
        else:
            yield layer


def _rescaled(layer: Any) -> str | None:
    """The range by the scale of a Rescaling: about 1/255 or 1/127.5 is for 0..255; 2 or 255 is for 0..1."""
    try:
        scale = float(np.max(np.abs(np.asarray(layer.scale, np.float64))))
    except (TypeError, ValueError):
        return None
    if 0 < scale <= 1 / 50:
        return "0..255"
    return "0..1" if scale >= 1.5 else None


def _normalized(layer: Any) -> str | None:
    """The range by a Normalization: values in 0..L with the mean M have a variance of M * (L - M) or less."""
    mean, variance = getattr(layer, "mean", None), getattr(layer, "variance", None)
    if mean is None or variance is None or getattr(layer, "invert", False):
        return None
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    for pixels, limit, smallest in (("0..1", 1, 0), ("0..255", 255, 2)):
        if variance.max() > smallest**2 and (variance <= mean * (limit - mean) + 1e-3 * limit).all():
            return pixels
    return None
