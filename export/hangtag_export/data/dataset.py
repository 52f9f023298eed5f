"""Labelled images, in memory or in files, split into training, validation and test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


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
    `train_images`.
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

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, 3) for colour images."""
        return tuple(self.test_images.shape[1:])
