"""The test images on the page: Fashion-MNIST's, an archive of arrays, or a folder with one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cli.inputs import Array, Files, find
from ..contract import GRAPH_IMAGE_SUFFIXES
from ..errors import InvalidInput
from ..fashion_mnist import load_test_images
from .images import Row, prepare, read_upload


@dataclass(frozen=True)
class Samples:
    """`images` is uint8 [N, H, W] or [N, H, W, 3], or N paths; `truth` has a class index or a class name for each."""

    name: str
    images: Any
    truth: Sequence[int | str] | None

    def read(self, index: int) -> Any:
        """One original image, an array or a PIL image."""
        image = self.images[index]
        try:
            return read_upload(image.read_bytes()) if isinstance(image, Path) else image
        except InvalidInput as error:
            raise InvalidInput(f"{image}: {error}") from error

    def batch(self, start: int, stop: int, row: Row) -> Any:
        """Images `start` to `stop` in the shape of the model's input, uint8 [N, …] or a list of N arrays."""
        images = self.images[start:stop]
        if isinstance(images, np.ndarray) and images.shape[1:] == row:
            return images
        return [prepare(self.read(index), row, "resize")[0] for index in range(start, stop)]

    def truths(self, start: int, stop: int, class_names: Sequence[str]) -> list[int]:
        """The class index of each image; -1 for a class that the model does not have."""
        numbers = {key: at for at, name in enumerate(class_names) for key in (name, name.replace("/", "_"))}
        return [numbers.get(one, -1) if isinstance(one, str) else one for one in (self.truth or [])[start:stop]]


def load(path: str | None) -> Samples | None:
    """The images of `path`, or Fashion-MNIST's; None if those are not on this machine. Raises InvalidInput."""
    if path is None:
        known = load_test_images()
        return None if known is None else Samples("Fashion-MNIST", known[0], known[1].tolist())
    source, name = find([path])[0], Path(path).resolve().name
    if isinstance(source, Files):
        files = [Path(file) for file in source.names if file.lower().endswith(GRAPH_IMAGE_SUFFIXES)]
        if not files:
            raise InvalidInput(f"{path} has no PNG or JPEG file, and the playground does not show other types")
        nested = all(file.parent != Path(path) for file in files)
        return Samples(name, files, [file.parent.name for file in files] if nested else None)
    if not isinstance(source, Array) or source.array.dtype != "u1" or source.array.shape[3:] not in ((), (1,), (3,)):
        raise InvalidInput(f"cannot show {path}: give a folder, or an array uint8 [N, H, W] or [N, H, W, 3]")
    labels = source.labels
    if labels is not None and (labels.shape != source.array.shape[:1] or labels.dtype.kind not in "iu"):
        raise InvalidInput(f"`labels` in {path} must hold one whole number for each of the {len(source):,} images")
    return Samples(name, source.array, None if labels is None else labels.tolist())
