"""A data set that is a folder of images: one folder a class, PNG or JPEG, any size, grey or colour.

DIR/boots/a.png  DIR/bags/b.jpg …                     split 80/20 by seed, class by class, or
DIR/train/boots/a.png … and DIR/test/boots/b.png …    as it is
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from hangtag.optional import require

from ..errors import DataError
from ..publishing.image_files import decode
from .fashion_mnist import Dataset

ENDINGS = (".png", ".jpg", ".jpeg")
TEST_PART = 0.2

_Files = dict[str, list[Path]]


def load_folder(folder: Path, shape: tuple[int, ...], seed: int) -> Dataset:
    """All images of `folder`, uint8 [N, *shape], decoded by the very function that the exported model uses.

    Raises DataError, whose one sentence says which folder or file is not as it should be.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: --dataset is fashion-mnist or a folder with one folder a class")
    parts = {name: folder / name for name in ("train", "test") if (folder / name).is_dir()}
    if len(parts) == 2:
        train, test = (_classes(part) for part in parts.values())
        strange = sorted(set(test) - set(train))
        if strange:
            raise DataError(f"{parts['test']} has a class {strange[0]!r} that {parts['train']} has not")
        absent = sorted(set(train) - set(test))
        if absent:
            raise DataError(f"{parts['test']} has no folder for class {absent[0]!r}, which {parts['train']} has")
    else:
        train, test = _split(_classes(folder), seed)
    class_names = tuple(sorted(train))
    digest = hashlib.sha256()
    train_images, train_labels = _read(train, class_names, shape, digest, folder)
    test_images, test_labels = _read(test, class_names, shape, digest, folder)
    return Dataset(
        name=folder.resolve().name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=class_names,
        checksum=digest.hexdigest(),
        origin=str(folder),
    )


def _classes(folder: Path) -> _Files:
    """Class name to image files, sorted; whatever is not a folder, or begins with a dot, is passed over."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{folder} has no folders: put the images of each class into a folder of the class's name")
    found = {path.name: sorted(_images(path)) for path in folders}
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise DataError(f"{folder / empty[0]} has no PNG or JPEG file: a class needs images, or remove the folder")
    if len(found) == 1:
        raise DataError(f"{folder} has one class only ({folders[0].name}): a classifier needs two or more")
    return found


def _images(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    ]


def _split(classes: _Files, seed: int) -> tuple[_Files, _Files]:
    """A fifth of each class, at least one image, for testing."""
    chance = np.random.default_rng(seed)
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} has one image only: it needs one to train on and one to test on, at least")
        order = chance.permutation(len(files))
        count = max(1, round(len(files) * TEST_PART))
        test[name] = [files[index] for index in sorted(order[:count])]
        train[name] = [files[index] for index in sorted(order[count:])]
    return train, test


def _read(
    classes: _Files, class_names: tuple[str, ...], shape: tuple[int, ...], digest: hashlib._Hash, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    tf = require("tensorflow", extra="export", what="training")
    spec = [tf.TensorSpec((), tf.string)]
    decoder = tf.function(lambda file: decode(file, shape), input_signature=spec, autograph=False)
    images, labels = [], []
    for label, name in enumerate(class_names):
        for path in classes[name]:
            try:
                content = path.read_bytes()
                images.append(decoder(content).numpy())
            except (OSError, tf.errors.OpError) as error:
                raise DataError(f"{path} cannot be read as PNG or JPEG: repair or remove it") from error
            labels.append(label)
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
            digest.update(content)
    return np.stack(images), np.array(labels, np.int64)
