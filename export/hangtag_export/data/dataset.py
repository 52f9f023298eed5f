"""Labelled images, in memory or in files, split into training, validation and test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import DataError
from .class_names import check_class_names


class Images(Protocol):
    """uint8 images [N, H, W] or [N, H, W, 3]: a numpy array, or `ImageFiles`, which reads them when they are needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W), or (N, H, W, 3) for colour images."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Dataset:
    """Labelled images; labels are int64 [N] and index `class_names`.

    `validation_images` are the images of a folder's ``val/``. Without them, training holds out a part of
    `train_images`. Arrays of other whole numbers are converted. Raises DataError for images or labels that cannot be
    right.
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    checksum: str
    origin: str
    validation_images: Images | None = None
    validation_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_class_names(self.class_names)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for part in ("train", "validation", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if part == "validation" and images is None:
                continue
            images = pixels(images, f"{part}_images")
            object.__setattr__(self, f"{part}_images", images)
            object.__setattr__(self, f"{part}_labels", indices(labels, len(images), len(self.class_names), part))
            if images.shape[1:] != self.train_images.shape[1:]:
                shapes = self.train_images.shape[1:], images.shape[1:]
                raise DataError(f"train_images are of {shapes[0]} and {part}_images of {shapes[1]}: give one shape")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, 3) for colour images."""
        return tuple(self.test_images.shape[1:])


def pixels(images: Any, what: str) -> Images:
    """Images as a `Dataset` has them: an array becomes uint8 [N, H, W] or [N, H, W, 3]. Raises DataError."""
    if isinstance(images, list | tuple):
        images = np.asarray(images)
    if not hasattr(images, "shape") or not hasattr(images, "__getitem__"):
        raise DataError(
            f"{what} is a {type(images).__name__}: give an array of images, uint8 [N, H, W] or [N, H, W, 3]"
        )
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if not len(images) or len(images.shape) not in (3, 4) or (len(images.shape) == 4 and images.shape[-1] != 3):
        raise DataError(f"{what} has the shape {images.shape}: give one image or more, [N, H, W] or [N, H, W, 3]")
    if not isinstance(images, np.ndarray) or images.dtype == np.uint8:
        found: Images = images
        return found
    low, high = (images.min(), images.max()) if images.dtype.kind in "iuf" else (np.nan, np.nan)
    is_scaled = images.dtype.kind == "f" and high <= 1
    if not (low >= 0 and high <= 255) or is_scaled or (images != np.floor(images)).any():
        raise DataError(f"{what} are {images.dtype} from {low:g} to {high:g}: give whole numbers 0..255, not scaled")
    return images.astype(np.uint8)


def indices(labels: Any, count: int, classes: int, what: str = "") -> np.ndarray:
    """The labels of `count` images as int64 [N], which index `classes` classes. Raises DataError."""
    array, name = np.asarray(labels), f"{what}_labels".lstrip("_")
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise DataError(
            f"{name} are {array.dtype} {list(array.shape)}: give {count} whole numbers, one for each of the images"
        )
    if not 0 <= array.min() <= array.max() < classes:
        raise DataError(f"{name} run from {array.min()} to {array.max()}: {classes} classes have 0 to {classes - 1}")
    return array.astype(np.int64)
