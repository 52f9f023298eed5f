"""Images that are read from their files when they are needed, and decoded as in the exported model.

TensorFlow decodes PNG and JPEG files with the code of the exported graph. Pillow decodes what TensorFlow does not:
WebP, TIFF, GIF, BMP, CMYK, and files that must be rotated by their EXIF data. Both use the same resize.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.images.files import MAX_IMAGE_BYTES
from hangtag.images.header import read_header
from hangtag.images.pillow import eight_bits, upright
from hangtag.optional import require

from . import image_decoding as graph
from .dataset import Images

CACHE_BYTES = 256_000_000
"""The limit in bytes for keeping decoded images in memory. If not all images fit, none are kept."""

_LARGE = 8_000_000  # pixels; such images are decoded one at a time
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_one_large = threading.Lock()


class BadImageError(Exception):
    """A file cannot be used; the message says why."""


class ImageFiles:
    """uint8 images [N, *shape] that are read from `paths` when they are indexed, like a numpy array.

    Decoded images are kept in memory if all of them fit into `CACHE_BYTES`.

    >>> images = ImageFiles(paths, (96, 96, 3))  # doctest: +SKIP
    >>> images[:32].shape  # doctest: +SKIP
    (32, 96, 96, 3)
    """

    def __init__(self, paths: Sequence[Path], shape: Sequence[int]) -> None:
        self.paths = tuple(paths)
        self.shape = (len(self.paths), *shape)
        size = int(np.prod(self.shape))
        self._cache = np.empty(self.shape, np.uint8) if size <= CACHE_BYTES else None  # unused pages take no memory
        self._cached = np.zeros(len(self.paths), bool)
        self._pool = ThreadPoolExecutor(_processors(), thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> np.ndarray:
        places = np.arange(len(self.paths))[index]
        if places.ndim == 0:
            return self._image(int(places))
        if self._cache is not None and self._cached[places].all():
            cached: np.ndarray = self._cache[places]
            return cached
        images = np.empty((len(places), *self.shape[1:]), np.uint8)
        for row, image in enumerate(self._pool.map(self._image, places.tolist())):
            images[row] = image
        return images

    def check(self, step: Callable[[], None] = lambda: None) -> tuple[list[str], dict[int, str]]:
        """Read and decode every file once; returns the SHA-256 of each, and the fault of each bad one by position."""
        checksums, bad = [], {}
        for place, (checksum, reason) in enumerate(self._pool.map(self._check, range(len(self.paths)))):
            checksums.append(checksum)
            if reason:
                bad[place] = reason
            step()
        return checksums, bad

    def _check(self, place: int) -> tuple[str, str]:
        content = b""
        try:
            content = _content(self.paths[place])
            self._keep(place, decode(content, self.shape[1:]))
        except BadImageError as error:
            return hashlib.sha256(content).hexdigest(), str(error)
        return hashlib.sha256(content).hexdigest(), ""

    def _image(self, place: int) -> np.ndarray:
        if self._cache is not None and self._cached[place]:
            cached: np.ndarray = self._cache[place]
            return cached
        image = decode(_content(self.paths[place]), self.shape[1:])
        self._keep(place, image)
        return image

    def _keep(self, place: int, image: np.ndarray) -> None:
        if self._cache is not None:
            self._cache[place] = image
            self._cached[place] = True


class Subset:
    """The images of `files` at `places`, in this order."""

    def __init__(self, files: ImageFiles, places: np.ndarray) -> None:
        self._files = files
        self._places = places
        self.shape = (len(places), *files.shape[1:])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._files[self._places[index]]

    def select(self, places: np.ndarray) -> Subset:
        """The images at these positions."""
        return Subset(self._files, self._places[places])


def select(images: Images, places: np.ndarray) -> Images:
    """The `images` at these positions; images in files are not read."""
    return images.select(places) if isinstance(images, Subset) else images[places]


def decode(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an image file as uint8 pixels of `shape`, upright. Raises BadImageError."""
    tf = require("tensorflow", extra="export", what="training")
    pillow = require("PIL.Image", extra="export", what="training")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large images, which are refused below
            image = pillow.open(io.BytesIO(content), formats=_FORMATS)
    except pillow.DecompressionBombError as error:  # Pillow's own limit is larger than ours
        raise BadImageError(f"more than {graph.MAX_PIXELS // 1_000_000} million pixels") from error
    except Exception as error:  # Pillow has no common class for what a damaged file may raise
        raise BadImageError("not an image that can be read") from error
    width, height = image.size
    if width * height > graph.MAX_PIXELS:
        raise BadImageError(f"{width}x{height} pixels, more than {graph.MAX_PIXELS // 1_000_000} million")
    try:
        if width * height > _LARGE:
            with _one_large:
                return _pixels(content, image, shape)
        return _pixels(content, image, shape)
    except (tf.errors.OpError, Exception) as error:
        raise BadImageError("damaged") from error


def _pixels(content: bytes, image: Any, shape: tuple[int, ...]) -> np.ndarray:
    decoder, resizer = _compiled(shape)
    header = read_header(content)  # as the client does: the two must turn the same files
    turned = header is not None and header.orientation != 1
    if image.format in ("PNG", "JPEG", "MPO") and image.mode != "CMYK" and not turned:
        pixels: np.ndarray = decoder(content).numpy()
        return pixels
    image = eight_bits(upright(image))
    is_grey = image.mode in ("1", "L", "LA")
    values = np.asarray(image.convert("L" if is_grey and len(shape) == 2 else "RGB"))
    if len(shape) == 2:
        values = (values if is_grey else _grey(values))[..., np.newaxis]
    resized: np.ndarray = resizer(values).numpy()
    return resized


def _grey(values: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as grey [H, W], with the weights of libpng, which converts the PNG that clients send instead."""
    weighted: np.ndarray = values.astype(np.uint32) @ np.array([9797, 19234, 3737], np.uint32) >> 15
    return weighted.astype(np.uint8)


@lru_cache(maxsize=8)
def _compiled(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The decoder and the resize of the exported graph, as TensorFlow functions."""
    tf = require("tensorflow", extra="export", what="training")
    channels = shape[2] if len(shape) == 3 else 1
    text, pixels = tf.TensorSpec((), tf.string), tf.TensorSpec((None, None, channels), tf.uint8)
    return (
        tf.function(lambda file: graph.decode(file, shape), input_signature=[text], autograph=False),
        tf.function(lambda image: graph.resize(image, shape), input_signature=[pixels], autograph=False),
    )


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise BadImageError(f"larger than {MAX_IMAGE_BYTES // 1_000_000} MB")
        return path.read_bytes()
    except OSError as error:
        raise BadImageError(f"cannot be opened: {error.strerror}") from error


def _processors() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(count or 1, 8)
