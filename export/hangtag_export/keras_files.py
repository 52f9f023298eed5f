"""Keras's own files, .keras and .h5: which version wrote one, and why one does not load."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from hangtag.optional import require

_HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes


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
    return message[:300] or type(error).__name__


def _other_format(path: Path) -> str | None:
    """How a file's content contradicts its ending, by which Keras reads it."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_HDF5))
    except OSError as error:
        return error.strerror or type(error).__name__
    if not begin:
        return "it is empty"
    is_archive = zipfile.is_zipfile(path)
    if path.suffix.lower() == ".keras" and not is_archive:
        return "its content is that of an .h5 file: rename it" if begin == _HDF5 else "it is damaged, or no Keras file"
    if path.suffix.lower() != ".keras" and begin != _HDF5:
        return "its content is that of a .keras file: rename it" if is_archive else "it is damaged, or no Keras file"
    return None
