"""Keras's own files, .keras and .h5: which version wrote one, and why one does not load."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from hangtag.optional import require


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
