"""Fashion-MNIST from the first place that has it; the SHA-256 of each file is verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.fashion_mnist import CHECKSUMS, CLASS_NAMES, PACKAGE_FOLDER, cache_folder, find_file, folders, read_file

from ..errors import DataError
from . import DATASET
from .dataset import Dataset

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
"""Where Keras downloads the data set from."""

PACKAGE = "dataset-fashion-mnist"

_FETCH_TIMEOUT = (5, 60)  # seconds to connect, and between two pieces


def load_fashion_mnist(data_dir: str | None = None, say: Callable[[str], None] = lambda line: None) -> Dataset:
    """The 60,000 training and 10,000 test images, uint8 [N, 28, 28].

    The files are read from `data_dir` or ``HANGTAG_DATA`` if given; else from Debian's package, Hangtag's cache or
    Keras's cache. If none of them has the files, they are downloaded into Hangtag's cache. Raises DataError.
    """
    folder = _find(data_dir, say)
    content = {name: _read(folder, name) for name in CHECKSUMS}
    return Dataset(
        name=DATASET,
        train_images=np.frombuffer(content["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 28, 28),
        train_labels=np.frombuffer(content["train-labels-idx1-ubyte"], np.uint8, offset=8).astype(np.int64),
        test_images=np.frombuffer(content["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 28, 28),
        test_labels=np.frombuffer(content["t10k-labels-idx1-ubyte"], np.uint8, offset=8).astype(np.int64),
        class_names=CLASS_NAMES,
        checksum=hashlib.sha256("".join(CHECKSUMS.values()).encode()).hexdigest(),
        origin=str(folder),
    )


def _find(data_dir: str | None, say: Callable[[str], None]) -> Path:
    for folder in folders(data_dir):
        if all(find_file(folder, name) for name in CHECKSUMS):
            return folder
    given = data_dir or os.environ.get("HANGTAG_DATA")
    if not given:
        return _fetch(say)
    missing = next(name for name in CHECKSUMS if find_file(Path(given), name) is None)
    raise DataError(f"{given} has no {missing} (nor {missing}.gz): it must hold {', '.join(CHECKSUMS)}")


def _read(folder: Path, name: str) -> bytes:
    path = find_file(folder, name)
    if path is None:
        raise DataError(f"{folder} no longer has {name}")
    try:
        return read_file(path, name)
    except InvalidInput as error:
        raise DataError(str(error)) from error


# ---- fetching


def _fetch(say: Callable[[str], None]) -> Path:
    """Fill the cache from Keras's URL or from Debian's package."""
    target = cache_folder()
    failures = []
    for source, fetch in ((URL, _fetch_files), (f"Debian's package {PACKAGE}", _fetch_package)):
        say(f"downloading Fashion-MNIST from {source}")
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as scratch:
                folder = fetch(Path(scratch))
                for name in CHECKSUMS:
                    _read(folder, name)
                for name in CHECKSUMS:
                    (folder / f"{name}.gz").replace(target / f"{name}.gz")
            return target
        except (OSError, DataError, subprocess.SubprocessError) as error:
            failures.append(f"{source}: {_first_line(error)}")
    raise DataError(
        f"Fashion-MNIST is not on this machine and could not be downloaded ({'; '.join(failures)}). Put its four files "
        f"into a folder and give it as --data-dir or HANGTAG_DATA, or install the package {PACKAGE}"
    )


def _first_line(error: Exception) -> str:
    text = (getattr(error, "stderr", None) or str(error)).strip()
    return text.splitlines()[-1][:200] if text else type(error).__name__


def _fetch_files(scratch: Path) -> Path:
    import requests

    for name in CHECKSUMS:
        try:
            with requests.get(f"{URL}{name}.gz", stream=True, timeout=_FETCH_TIMEOUT) as answer:
                answer.raise_for_status()
                with (scratch / f"{name}.gz").open("wb") as file:
                    for piece in answer.iter_content(1 << 16):
                        file.write(piece)
        except requests.exceptions.ConnectionError as error:
            raise DataError("no connection") from error
        except requests.RequestException as error:
            raise DataError(str(error)) from error
    return scratch


def _fetch_package(scratch: Path) -> Path:
    """Unpack Debian's package without installing it, which needs no root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DataError("no apt-get here")
    try:
        _run(["apt-get", "download", PACKAGE], scratch)
    except subprocess.SubprocessError:
        # The machine's package lists are empty, as in a new container, or too old: download them to `scratch`.
        for folder in ("lists/partial", "archives/partial"):
            (scratch / folder).mkdir(parents=True)
        own = ["-o", f"Dir::State={scratch}", "-o", f"Dir::State::lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"]
        _run(["apt-get", "update", *own], scratch)
        _run(["apt-get", "download", *own, PACKAGE], scratch)
    package = next(scratch.glob(f"{PACKAGE}_*.deb"))
    _run(["dpkg-deb", "-x", str(package), "unpacked"], scratch)
    return scratch / "unpacked" / PACKAGE_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)  # noqa: S603 - all constants
