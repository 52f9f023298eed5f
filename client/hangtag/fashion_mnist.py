"""Fashion-MNIST: its class names in English and Chinese, and its test images, if this machine has them.

English names and their order: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms", arXiv:1708.07747, table 2, as the TensorFlow tutorial spells them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

_TABLE = (
    ("T-shirt/top", "T恤/上衣"),
    ("Trouser", "裤子"),
    ("Pullover", "套头衫"),
    ("Dress", "连衣裙"),
    ("Coat", "外套"),
    ("Sandal", "凉鞋"),
    ("Shirt", "衬衫"),
    ("Sneaker", "运动鞋"),
    ("Bag", "包"),
    ("Ankle boot", "短靴"),
)

CLASS_NAMES = tuple(english for english, _ in _TABLE)
"""The names in label order: ``CLASS_NAMES[9] == "Ankle boot"``."""

CLASS_NAMES_ZH = tuple(chinese for _, chinese in _TABLE)

LANGUAGES = ("en", "zh")

CHECKSUMS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""The four files of the data set, with the SHA-256 of their decompressed contents."""

PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` installs them."""

_IMAGES, _LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def check_language(language: str) -> str:
    """Return `language`, or raise InvalidInput if there are no names in it."""
    if language not in LANGUAGES:
        raise InvalidInput(f"language {language!r} is not known: choose one of {', '.join(LANGUAGES)}")
    return language


def translate(names: Iterable[str], language: str) -> tuple[str, ...]:
    """Names in `language` ("en" or "zh"). Names that are not Fashion-MNIST's stay unchanged.

    >>> translate(["Ankle boot", "umbrella"], "zh")
    ('短靴', 'umbrella')
    """
    if check_language(language) == "en":
        return tuple(names)
    table = dict(_TABLE)
    return tuple(table.get(name, name) for name in names)


# ---- the files


def cache_folder() -> Path:
    """Where downloaded files are stored."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "hangtag"


def folders(data_dir: str | None = None) -> tuple[Path, ...]:
    """Where the files may be: `data_dir` or ``HANGTAG_DATA`` if given, else the package's folder and the caches."""
    given = data_dir or os.environ.get("HANGTAG_DATA")
    if given:
        return (Path(given),)
    keras = Path("~/.keras/datasets").expanduser()
    return (PACKAGE_FOLDER, cache_folder(), keras / "fashion-mnist", keras)


def find_file(folder: Path, name: str) -> Path | None:
    """The file in `folder`, compressed or not."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def read_file(path: Path, name: str) -> bytes:
    """The decompressed content of the data set's file `name`; raises InvalidInput if its checksum is wrong."""
    import gzip
    import hashlib
    import zlib

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read ({error}): delete it and try again") from error
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != CHECKSUMS[name]:
        raise InvalidInput(
            f"{path} is not Fashion-MNIST's {name}: SHA-256 {checksum[:12]}…, expected {CHECKSUMS[name][:12]}…; "
            "delete it and try again"
        )
    return content


def load_test_images(data_dir: str | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """The 10,000 test images, uint8 [N, 28, 28], and their labels, int64 [N]; None if they are not on this machine.

    >>> images, labels = load_test_images()                            # doctest: +SKIP
    >>> images.shape, CLASS_NAMES[labels[0]]                           # doctest: +SKIP
    ((10000, 28, 28), 'Ankle boot')
    """
    import numpy as np

    for folder in folders(data_dir):
        images, labels = find_file(folder, _IMAGES), find_file(folder, _LABELS)
        if images is not None and labels is not None:
            return (
                np.frombuffer(read_file(images, _IMAGES), np.uint8, offset=16).reshape(-1, 28, 28),
                np.frombuffer(read_file(labels, _LABELS), np.uint8, offset=8).astype(np.int64),
            )
    return None
