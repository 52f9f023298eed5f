"""Examines a model config file, the base paths that it names, and whether the server can read them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hangtag.errors import InvalidInput

from ..errors import ServingError
from ..models.model_config import ModelConfig, read_config
from ..models.version_policy import Specific, scan
from . import FAIL, OK, WARN, Finding
from .savedmodel import examine_version

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite")
"""Endings of models that TensorFlow Serving cannot load."""

CONTAINER_USER = 65534
"""The user of the server in compose.yaml and the Kubernetes files: nobody."""


def examine_config(path: Path, path_map: Mapping[str, Path]) -> Iterator[Finding]:
    """Examine the file, then the labels and the base path of each model."""
    subject = str(path)
    try:
        configs = read_config(path, path_map)
    except (InvalidInput, ServingError) as error:
        fix = "correct the file: the server does not start with it, and refuses all of it when it reads it again"
        yield Finding(FAIL, "config-refused", subject, str(error), fix)
        return
    if not configs:
        fix = 'add model_config_list { config { name: … base_path: … model_platform: "tensorflow" } }'
        yield Finding(FAIL, "config-empty", subject, "lists no model", fix)
        return
    yield Finding(OK, "config", subject, f"serves {', '.join(config.name for config in configs)}")
    for config in configs:
        yield from _examine_versions(subject, config)
        if not path_map and config.base_path.is_relative_to("/models") and not config.base_path.is_dir():
            message = f"{config.name} has the base path {config.base_path}, a path in a container: not examined"
            yield Finding(
                WARN, "path-map", subject, message, "give --path_map /models=models, the folder on this machine"
            )
            continue
        yield from examine_base_path(config.base_path, config.name)


def _examine_versions(subject: str, config: ModelConfig) -> Iterator[Finding]:
    try:
        on_disk = scan(config.base_path)
    except OSError:
        return  # examine_base_path reports it
    if isinstance(config.policy, Specific):
        for version in config.policy.versions:
            if version not in on_disk:
                message = f"{config.name} needs version {version}, which is not in {config.base_path}"
                fix = "publish it, or remove it from model_version_policy"
                yield Finding(FAIL, "version-missing", subject, message, fix)
        if not config.policy.versions:
            message = f"{config.name} has an empty specific policy: every version is unloaded"
            yield Finding(FAIL, "policy-empty", subject, message, "add a version")
    served = config.policy(on_disk)
    for label, version in config.labels.items():
        if version not in served:
            message = f"label {label!r} of {config.name} points to version {version}, which this policy does not serve"
            fix = "add the version to model_version_policy { specific { … } }"
            yield Finding(FAIL, "label-not-served", subject, message, fix)
    if config.labels:
        message = f"{config.name} has labels: the first start needs --allow_version_labels_for_unavailable_models=true"
        fix = "give the flag; to move a label, load its version first (hangtag versions promote)"
        yield Finding(WARN, "labels", subject, message, fix)
        if served and max(served) not in {config.labels.get("stable", max(served))}:
            message = f"calls to {config.name} without a label are answered by version {max(served)}, not by `stable`"
            fix = "let clients give a label, or use the edge, which adds `stable`"
            yield Finding(WARN, "unlabelled", subject, message, fix)


def examine_base_path(base_path: Path, model: str | None = None) -> Iterator[Finding]:
    """Examine the folder, then its versions, newest first. `model` is the served name if it differs."""
    subject = str(base_path)
    try:
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names are all that is needed
        versions = scan(base_path)
    except OSError as error:
        message, fix = f"cannot be read: {error.strerror}", "check the path, and in a container the mount"
        yield Finding(FAIL, "base-path", subject, message, fix)
        return
    if "saved_model.pb" in names:
        message = "is a version itself: TensorFlow Serving looks for numbered folders in it and waits forever"
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
        message = f"is a folder of base paths ({', '.join(below)}), not a base path"
        return Finding(FAIL, "no-version", str(base_path), message, f"hangtag doctor {base_path / below[0]}")
    message = "has no folder whose name is a number: the server waits and opens no port"
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
        if path.suffix.lower() in MODEL_SUFFIXES:
            message = "is not a SavedModel: TensorFlow Serving does not read such files"
            fix = f"hangtag publish {path} --base-path {base_path}"
            yield Finding(WARN if versions else FAIL, "model-file", str(path), message, fix)
        elif path.is_dir():
            message = "is skipped: its name is not a number"
            if _is_number(name) and int(name) in versions:
                message = f"is skipped: {versions[int(name)].name} is another name of the same version"
            yield Finding(WARN, "skipped-folder", str(path), message, "rename it if it is a version")


def examine_access(*paths: Path) -> Iterator[Finding]:
    """The first of these files and folders that the container's user cannot read."""
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # a broken link; loading reports it
        # The owner's bits count for the owner, the group's for its members, the last three for all others.
        shift = 6 if status.st_uid == CONTAINER_USER else 3 if status.st_gid == CONTAINER_USER else 0
        needed = 0o5 if path.is_dir() else 0o4
        if (status.st_mode >> shift) & needed != needed:
            message = f"cannot be read by user {CONTAINER_USER}, which the containers run as"
            folder = paths[0] if path != paths[0] or path.is_dir() else path
            yield Finding(FAIL, "unreadable", str(path), message, f"chmod -R u=rwX,go=rX {folder}")
            return
