"""Files of Keras, .keras and .h5: how Ctrl-C waits for them, which version wrote one, and why one does not load."""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hangtag.optional import require

_HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt after this block; a second Ctrl-C raises it at once.

    Keras has `except:` without a class where it reads and writes files. It would lose a KeyboardInterrupt, or raise
    another error instead.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield  # Ctrl-C raises nothing here
        return
    postponed = False

    def postpone(number: int, frame: FrameType | None) -> None:
        nonlocal postponed
        postponed = True
        signal.signal(signal.SIGINT, handler)

    signal.signal(signal.SIGINT, postpone)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if postponed:
            signal.raise_signal(signal.SIGINT)


def keras_version(path: Path) -> str:
    """The version of Keras that wrote a file; "" if it does not say."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as file:
                return str(json.loads(file.read(100_000)).get("keras_version", ""))
        h5py = require("h5py", extra="export", what="reading a Keras file")
        with h5py.File(path) as file:
            version = file.attrs.get("keras_version", b"")
            return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, KeyError, ValueError, AttributeError):
        return ""


@contextmanager
def lower_case(path: Path) -> Iterator[Path]:
    """A path of the same file with its ending in lower case, because Keras only accepts .keras and .h5."""
    if path.suffix == path.suffix.lower():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, path.name.lower())
        link.symlink_to(path.resolve())
        yield link


def reason(error: Exception, path: Path) -> str:
    """Why Keras could not load a file, in one sentence."""
    message = " ".join(str(error).split())
    if (mismatch := _other_format(path)) is not None:
        return mismatch
    if "lambda" in message.lower() and "unsafe" in message.lower():
        return (
            "it has a Lambda layer, whose code Keras does not run from a file: load it in Python "
            "with safe_mode=False, if you trust it, and call hangtag_export.publish(model, …)"
        )
    for marker in ("Could not locate class '", "Unknown layer: '"):
        if marker in message:
            name = message.split(marker, 1)[1].split("'", 1)[0]
            return f"it has a layer of your own, {name}: name the module that registers it with --import"
    if "No model config found" in message or ("weights" in path.name and "config" in message):
        return "it holds weights but no model: build the model in Python, load the weights, and save the whole model"
    written_by, installed = keras_version(path), getattr(sys.modules.get("keras"), "__version__", "")
    if _numbers(written_by)[:2] > _numbers(installed)[:2]:
        return f"it was written by Keras {written_by}, newer than the {installed} here: pip install --upgrade keras"
    if isinstance(error, OSError) and "open file" in message:  # h5py's
        return "it is damaged: its weights cannot be read"
    return message[:300] or type(error).__name__


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def kind_of_content(path: Path) -> str | None:
    """The ending that fits a file's content, .keras or .h5; None for other content. Raises OSError."""
    with path.open("rb") as file:
        begin = file.read(len(_HDF5))
    if begin == _HDF5:
        return ".h5"
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return ".keras" if {"config.json", "metadata.json"} <= set(archive.namelist()) else None
    except zipfile.BadZipFile:
        return None


def _other_format(path: Path) -> str | None:
    """Why a file's content does not fit its ending, which decides how Keras reads it; None if it fits."""
    try:
        if not path.stat().st_size:
            return "it is empty"
        kind = kind_of_content(path)
    except OSError as error:
        return error.strerror or type(error).__name__
    if kind is None:
        return "it is damaged, or no Keras file"
    expected = ".keras" if path.suffix.lower() == ".keras" else ".h5"
    return (
        None if kind == expected else f"its content is that of {'an' if kind == '.h5' else 'a'} {kind} file: rename it"
    )
