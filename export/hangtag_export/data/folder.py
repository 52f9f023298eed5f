"""Loads a data set from a folder of images, with one folder per class, whose name is the class name.

DIR/boots/a.png  DIR/bags/2024/b.jpg …                split 80/20 by seed, class by class, or
DIR/train/boots/a.png … and DIR/test/boots/b.png …    used as they are, with DIR/val/ (also valid, validation) if there
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hangtag.contract import IMAGE_SUFFIXES
from hangtag.optional import require

from ..errors import DataError
from .class_names import TRAINING, class_folders, class_name, fault_of, is_hidden, look, one_of
from .dataset import Dataset
from .image_files import ImageFiles, Subset

TEST_PART = 0.2

_VALIDATION = ("val", "valid", "validation", "validation_set", "val_set", "dev")
_TEST = ("test", "testing", "test_set", "testing_set", "testset")
_PART = re.compile(
    r"(.*[_. -])?(train|training|test|testing|val|valid|validation|dev|eval)([_. -]?(set|data|images|split))?",
    re.IGNORECASE,
)
"""Other names of folders that may be parts of a data set, such as `my_test_images`."""
_LARGEST = 4096  # pixels per side
_SHOWN = 10  # bad files that a message names

_Files = dict[str, list[Path]]


def load_images(
    folder: str | Path,
    image_shape: Sequence[int] = (96, 96, 3),
    *,
    seed: int = 42,
    skip_bad: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """The images of `folder` as uint8 of `image_shape`: (H, W), grey, or (H, W, 3), RGB.

    Reads PNG, JPEG, WebP, GIF, BMP and TIFF, rotated by their EXIF data. First, every file is decoded once, so that bad
    files are reported before the training; later, images are read when they are needed. `skip_bad` omits bad files.
    `say` is called with a line about skipped files. Raises DataError.

    >>> dataset = load_images("photos", (96, 96, 3))  # doctest: +SKIP
    >>> dataset.train_images[:32].shape  # doctest: +SKIP
    (32, 96, 96, 3)
    """
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or not all(1 <= size <= _LARGEST for size in shape):
        raise DataError(f"image_shape {shape} is neither (H, W), grey, nor (H, W, 3), RGB, with 1 to {_LARGEST} pixels")
    if not str(folder):
        raise DataError("the data set is an empty text: give a folder with one folder for each class")
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)}: give a folder with one folder for each class")
    skipped: Counter[str] = Counter()
    splits = _splits(folder, skipped, seed, say)
    class_names = tuple(sorted(splits[0]))
    paths = [path for split in splits for name in class_names for path in split.get(name, [])]
    files = ImageFiles(paths, shape)
    checksums, bad = _check(files)
    if bad and not skip_bad:
        raise DataError(_bad_files(files, bad, folder))
    if bad:
        skipped["bad"] = len(bad)
    if skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
        say(f"skipped {skipped.total():,} of {skipped.total() + len(paths) - len(bad):,} files: {reasons}")
    parts: list[tuple[Subset, np.ndarray]] = []
    place = 0
    for split in splits:
        places: list[int] = []
        labels: list[int] = []
        for label, name in enumerate(class_names):
            good = [number for number in range(place, place + len(split.get(name, []))) if number not in bad]
            place += len(split.get(name, []))
            if not good:
                raise DataError(f"class {name!r} has too few images that can be read")
            places += good
            labels += [label] * len(good)
        parts.append((Subset(files, np.array(places)), np.array(labels, np.int64)))
    digest = hashlib.sha256()
    for number, (path, checksum) in enumerate(zip(paths, checksums, strict=True)):
        if number not in bad:
            digest.update(os.fsencode(path.relative_to(folder)) + f"\0{checksum}\0".encode())
    train, test = parts[0], parts[-1]
    validation = parts[1] if len(parts) == 3 else None
    return Dataset(
        name=folder.resolve().name,
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        class_names=class_names,
        checksum=digest.hexdigest(),
        origin=str(folder),
        validation_images=None if validation is None else validation[0],
        validation_labels=None if validation is None else validation[1],
    )


def shown(path: Path | str) -> str:
    """A path for a message, with escaped control characters and escaped bytes that are not text."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


# ---- which files belong to which split and class


def _splits(folder: Path, skipped: Counter[str], seed: int, say: Callable[[str], None]) -> list[_Files]:
    """The files of the training and test images, or of the training, validation and test images."""
    train = one_of(folder, TRAINING)
    others = [part for part in (one_of(folder, _VALIDATION), one_of(folder, _TEST)) if part is not None]
    if train is None or not others:
        _check_not_divided(folder, train)
        return _split(_classes(folder, skipped), seed)
    parts = [train, *others]
    for path in sorted(folder.iterdir()):
        if path not in parts and not path.name.startswith("."):
            skipped[f"beside {', '.join(f'{part.name}/' for part in parts)}"] += 1
    splits = [_classes(part, skipped) for part in parts]
    for part, split in zip(others, splits[1:], strict=True):
        unknown, absent = sorted(set(split) - set(splits[0])), sorted(set(splits[0]) - set(split))
        if unknown:
            raise DataError(f"{shown(part)} has a class {unknown[0]!r} that {shown(train)} does not have")
        if absent:
            raise DataError(f"{shown(part)} has no folder for class {absent[0]!r}, which {shown(train)} has")
    if others[-1].name.lower() in _VALIDATION:
        say(f"there is no {_TEST[0]}/: the images of {others[-1].name}/ are the test images")
    return splits


def _check_not_divided(folder: Path, train: Path | None) -> None:
    """Raise DataError if the folders look like parts of a data set, but their names are not known."""
    folders = class_folders(folder)
    part = train or next((path for path in folders if _PART.fullmatch(path.name)), None)
    if part is None:
        return
    classes = {path.name for path in class_folders(part)}
    for path in folders:
        if path == part:
            continue
        if train is not None and path.name.lower() in (*_VALIDATION, *_TEST):
            raise DataError(
                f"{shown(path)} has no folders, and {shown(train)} has some: each part needs one folder for each class"
            )
        if classes & {inner.name for inner in class_folders(path)}:
            raise DataError(
                f"{shown(part)} and {shown(path)} have the same folders, as the parts of a data set have: name them "
                "train and test, or val"
            )


def _classes(folder: Path, skipped: Counter[str]) -> _Files:
    """Class name to image files, sorted."""
    folders = class_folders(folder)
    if not folders:
        raise DataError(
            f"{shown(folder)} has no folders: put the images of each class into a folder of the class's name"
        )
    for path in folder.iterdir():
        if not path.is_dir() and not path.name.startswith("."):
            skipped["outside of a class folder"] += 1
    classes: _Files = {}
    looks: set[str] = set()
    for path in folders:
        name = class_name(path)
        fault = fault_of(name)
        if fault is not None:
            raise DataError(f"the folder {shown(path)} cannot be a class: its name {fault}")
        if look(name) in looks:
            raise DataError(f"{shown(folder)} has two folders whose names look the same ({name!a}): rename one of them")
        looks.add(look(name))
        ours: Counter[str] = Counter()
        classes[name] = _images(path, ours)
        if not classes[name]:
            instead = (
                f", only {', '.join(f'{count} {reason}' for reason, count in ours.most_common(3))}" if ours else ""
            )
            raise DataError(
                f"{shown(path)} has no PNG, JPEG, WebP, GIF, BMP or TIFF file{instead}: "
                "a class needs images, or remove the folder"
            )
        skipped.update(ours)
    if len(classes) == 1:
        inner = [path.name for path in class_folders(folders[0])]
        hint = ""
        if inner:
            hint = (
                f". It holds folders itself ({', '.join(map(shown, inner[:5]))}): is {shown(folders[0])} the data set?"
            )
        raise DataError(f"{shown(folder)} has one class only ({shown(folders[0].name)}): a classifier needs two{hint}")
    return classes


def _images(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The image files of a class, in its folder and all folders below."""
    images = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        linked = sum(Path(parent, name).is_symlink() for name in folders)  # os.walk skips them: they may be loops
        if linked:
            skipped["links to folders"] += linked
        for name in names:
            path = Path(parent, name)
            suffix = path.suffix.lower()
            if name.startswith("."):
                skipped["hidden"] += 1
            elif not path.exists():
                skipped["links that lead nowhere"] += 1
            elif not path.is_file():
                skipped["no regular files"] += 1
            elif suffix not in IMAGE_SUFFIXES:
                skipped[shown(suffix) if suffix else "without an ending"] += 1
            else:
                images.append(path)
    return sorted(images)


def _split(classes: _Files, seed: int) -> list[_Files]:
    """Training and test images: a fifth of each class, but at least one image, is for testing."""
    random = np.random.default_rng(seed)
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} has one image only: it needs at least one to train on and one to test on")
        order = random.permutation(len(files))
        count = max(1, round(len(files) * TEST_PART))
        test[name] = [files[index] for index in sorted(order[:count])]
        train[name] = [files[index] for index in sorted(order[count:])]
    return [train, test]


# ---- checking every file


def _check(files: ImageFiles) -> tuple[list[str], dict[int, str]]:
    """`ImageFiles.check`, with a progress bar on a terminal."""
    tqdm = require("tqdm", extra="export", what="training")
    with tqdm.tqdm(total=len(files), desc="checking", leave=False, disable=not sys.stderr.isatty()) as bar:
        return files.check(bar.update)


def _bad_files(files: ImageFiles, bad: dict[int, str], folder: Path) -> str:
    named = sorted(f"{shown(files.paths[place].relative_to(folder))} ({reason})" for place, reason in bad.items())
    more = f" and {len(named) - _SHOWN:,} more" if len(named) > _SHOWN else ""
    return (
        f"{len(bad):,} of {len(files):,} images of {shown(folder)} cannot be used: {', '.join(named[:_SHOWN])}{more}. "
        "Repair or remove them, or give --skip-bad to train without them"
    )
