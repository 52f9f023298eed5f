"""Examine a base path: the folder that holds one model's versions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..models.version_policy import scan
from .access import examine_access
from .findings import FAIL, WARN, Finding
from .savedmodel import examine_version

_MODEL_FILES = (".keras", ".h5", ".hdf5", ".tflite")


def examine_base_path(base_path: Path, model: str | None = None) -> Iterator[Finding]:
    """The folder itself, then its versions, the newest first. `model` is the served name if it differs."""
    subject = str(base_path)
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names are all that is needed
        versions = scan(base_path)
    except OSError as error:
        message, fix = f"cannot be read: {error.strerror}", "check the path, and the mount if it is a container's"
        yield Finding(FAIL, "base-path", subject, message, fix)
        return
    if "saved_model.pb" in names:
        message = "is a version itself: TensorFlow Serving looks for numbered folders in it and waits for ever"
        yield Finding(FAIL, "version-as-base-path", subject, message, "give its parent folder as the base path")
        return
    if not versions:
        yield _no_version(base_path, names)
    yield from _examine_names(base_path, names, versions)
    yield from examine_access(base_path)
    for number in sorted(versions, reverse=True):
        yield from examine_access(versions[number], *sorted(versions[number].rglob("*")))
        yield from examine_version(model or base_path.name, number, versions[number], is_newest=number == max(versions))


def _no_version(base_path: Path, names: list[str]) -> Finding:
    below = [name for name in names if _has_version(base_path / name)]
    if below:
        message = f"is a folder of base paths ({', '.join(below)}), not one itself"
        return Finding(FAIL, "no-version", str(base_path), message, f"hangtag doctor {base_path / below[0]}")
    message = "has no folder whose name is a number: the server waits with no port open"
    fix = f"hangtag export --base-path {base_path}, or hangtag publish MODEL --base-path {base_path}"
    return Finding(FAIL, "no-version", str(base_path), message, fix)


def _has_version(folder: Path) -> bool:
    try:
        return folder.is_dir() and not _is_number(folder.name) and bool(scan(folder))
    except OSError:
        return False


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _examine_names(base_path: Path, names: list[str], versions: Mapping[int, Path]) -> Iterator[Finding]:
    for name in names:
        path = base_path / name
        if path in versions.values() or name.startswith("."):
            continue
        if path.suffix.lower() in _MODEL_FILES:
            message = "is not a SavedModel: TensorFlow Serving does not read such files"
            fix = f"hangtag publish {path} --base-path {base_path}"
            yield Finding(WARN if versions else FAIL, "model-file", str(path), message, fix)
        elif path.is_dir():
            message = "is skipped: its name is not a number"
            if _is_number(name) and int(name) in versions:
                message = f"is skipped: {versions[int(name)].name} is another name of the same version"
            yield Finding(WARN, "skipped-folder", str(path), message, "rename it if it is a version")
