"""The test images that the page offers: Fashion-MNIST's, an archive of arrays, or a folder with a folder per class."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cli.inputs import Array, Files, find
from ..errors import InvalidInput
from .images import Row, prepare, read_upload


@dataclass(frozen=True)
class Samples:
    """`images` is uint8 [N, H, W] or [N, H, W, 3], or N paths; `truth` a class number or a class name for each."""

    name: str
    images: Any
    truth: Sequence[int | str] | None

    def read(self, index: int) -> Any:
        """One image as it is, an array or a PIL image."""
        image = self.images[index]
        return read_upload(image.read_bytes()) if isinstance(image, Path) else image

    def batch(self, start: int, stop: int, row: Row) -> np.ndarray:
        """Images `start` to `stop` as the model takes them, uint8 [N, …]."""
        images = self.images[start:stop]
        if isinstance(images, np.ndarray) and images.shape[1:] == row:
            return images
        return np.stack([prepare(self.read(index), row, "resize")[0] for index in range(start, stop)])

    def truths(self, start: int, stop: int, class_names: Sequence[str]) -> list[int]:
        """The class number of each; -1 for one that the model does not have."""
        numbers = {name: number for number, name in enumerate(class_names)}
        return [numbers.get(one, -1) if isinstance(one, str) else one for one in (self.truth or [])[start:stop]]


def load(path: str | None) -> Samples | None:
    """The images of `path`, or Fashion-MNIST's; None if those are not on this machine. Raises InvalidInput."""
    if path is None:
        return _fashion_mnist()
    source, name = find([path])[0], Path(path).resolve().name
    if isinstance(source, Files):
        files = [Path(file) for file in source.names]
        nested = all(file.parent != Path(path) for file in files)
        return Samples(name, files, [file.parent.name for file in files] if nested else None)
    if not isinstance(source, Array) or source.array.dtype != "u1" or source.array.shape[3:] not in ((), (1,), (3,)):
        raise InvalidInput(f"cannot show {path}: give a folder, or an array uint8 [N, H, W] or [N, H, W, 3]")
    labels = source.labels
    if labels is not None and (labels.shape != source.array.shape[:1] or labels.dtype.kind not in "iu"):
        raise InvalidInput(f"`labels` in {path} must hold one whole number for each of the {len(source):,} images")
    return Samples(name, source.array, None if labels is None else labels.tolist())


def _fashion_mnist() -> Samples | None:
    """Looked for where `hangtag data` looks; nothing is downloaded."""
    cache, keras = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache"), Path("~/.keras/datasets")
    places: list[str | Path] = ["/usr/share/datasets/fashion-mnist", cache / "hangtag", keras / "fashion-mnist", keras]
    if os.environ.get("HANGTAG_DATA"):
        places = [os.environ["HANGTAG_DATA"]]
    for folder in (Path(place).expanduser() for place in places):
        try:
            images, truth = _idx(folder / "t10k-images-idx3-ubyte"), _idx(folder / "t10k-labels-idx1-ubyte")
        except (OSError, EOFError, ValueError):
            continue  # none here, or a damaged copy
        if images.ndim == 3 and truth.shape == images.shape[:1]:
            return Samples("Fashion-MNIST", images, truth.tolist())
    return None


def _idx(file: Path) -> np.ndarray:
    """An array of bytes in the format of http://yann.lecun.com/exdb/mnist/: magic number, sizes, values."""
    packed = file.with_name(f"{file.name}.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{file} is not an idx file of bytes")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
