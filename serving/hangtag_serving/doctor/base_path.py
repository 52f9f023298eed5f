"""Examine a folder of versions: each must be complete, readable, loadable, warm, and of the signature contract."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ServingError
from ..models.servable import Servable
from ..models.version_policy import scan
from ..models.warmup import FILE as WARMUP_FILE
from ..models.warmup import warm_up
from .findings import FAIL, OK, WARN, Finding

IMAGE_TENSORFLOW = (2, 20)
"""TensorFlow of the serving image that compose.yaml and the Kubernetes files run."""

_CONTRACT = ("serving_default", "normalized_images", "encoded_images", "top_classes", "labels", "classify")
_EXPORT_AGAIN = "export it again: hangtag export"


def examine_base_path(base_path: Path) -> Iterator[Finding]:
    """The folder itself, then its versions, the newest first."""
    subject = str(base_path)
    try:
        found = scan(base_path)
        names = sorted(os.listdir(base_path))  # noqa: PTH208 - names are all that is needed
    except OSError as error:
        yield Finding(
            FAIL, subject, f"cannot be read: {error.strerror}", "check the path, and the mount if it is a container's"
        )
        return
    if "saved_model.pb" in names:
        mend = "give its parent as the base path, and name the folder by a number"
        yield Finding(
            FAIL, subject, "is a version itself: TensorFlow Serving looks for numbers in it and waits for ever", mend
        )
        return
    if not found:
        mend = f"hangtag export --base-path {base_path}"
        yield Finding(FAIL, subject, "has no folder whose name is a number: the server waits with no port open", mend)
    for name in names:
        path = base_path / name
        if path.is_dir() and path not in found.values() and not name.startswith("."):
            skipped = any(int(name) == number for number in found) if name.isascii() and name.isdecimal() else False
            words = "is skipped for another name of the same number" if skipped else "is skipped: its name is no number"
            yield Finding(WARN, str(path), words, "rename it if it is a version")
    for position, number in enumerate(sorted(found, reverse=True)):
        yield from _examine_version(base_path.name, number, found[number], is_newest=position == 0)


def _examine_version(model: str, number: int, folder: Path, *, is_newest: bool) -> Iterator[Finding]:
    subject = str(folder)
    for path in (folder, *sorted(folder.rglob("*"))):
        needed = 0o005 if path.is_dir() else 0o004
        if path.stat().st_mode & needed != needed:
            mend = f"chmod -R u=rwX,go=rX {folder}"
            yield Finding(WARN, str(path), "cannot be read by other users, and the container's is another", mend)
            break
    try:
        servable = Servable(model, number, folder)
    except ServingError as error:
        words = " ".join(error.message.split())
        consequence = "" if is_newest else " (an older version: only a label or a policy would ask for it)"
        yield Finding(FAIL if is_newest else WARN, subject, f"does not load: {words}{consequence}", _EXPORT_AGAIN)
        return
    try:
        yield from _examine_signatures(subject, servable)
        try:
            warmed = warm_up(servable, folder)
        except ServingError as error:
            words = f"a warmup request fails, and so the load will: {' '.join(error.message.split())}"
            yield Finding(FAIL, str(folder / WARMUP_FILE), words, _EXPORT_AGAIN)
            return
        if not warmed:
            yield Finding(WARN, subject, "brings no warmup requests: the first calls will be slow", _EXPORT_AGAIN)
        yield from _examine_card(folder)
        count = sum(not name.startswith("__") for name in servable.signatures)
        yield Finding(
            OK, subject, f"loads as TensorFlow Serving would; {count} signatures, {warmed} warmup requests run"
        )
    finally:
        servable.close()


def _examine_signatures(subject: str, servable: Servable) -> Iterator[Finding]:
    missing = [name for name in _CONTRACT if name not in servable.signatures]
    if "serving_default" in missing:
        yield Finding(WARN, subject, "has no signature serving_default: every call must name one", _EXPORT_AGAIN)
    elif missing:
        words = (
            f"lacks {', '.join(missing)}: what the SDK does with them (files, class names) it then has to do without"
        )
        yield Finding(WARN, subject, words, "pass labels=[…] to the client, or " + _EXPORT_AGAIN)
    for name, signature in servable.signatures.items():
        flat = [alias for alias, info in signature.outputs.items() if info.name and not info.tensor_shape.dim]
        flat = [alias for alias in flat if not signature.outputs[alias].tensor_shape.unknown_rank]
        if flat and not name.startswith("__"):
            words = f"output {', '.join(flat)} of {name} has no batch dimension: no REST row form, no batching"
            yield Finding(WARN, subject, words, "give every output a first dimension of the batch")


def _examine_card(folder: Path) -> Iterator[Finding]:
    """A TensorFlow newer than the server's may write what that cannot read."""
    card = folder / "assets.extra" / "hangtag.json"
    try:
        version = json.loads(card.read_text())["tensorflow"]
        exported = tuple(int(part) for part in version.split(".")[:2])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if exported > IMAGE_TENSORFLOW:
        image = ".".join(map(str, IMAGE_TENSORFLOW))
        words = f"was exported with TensorFlow {version}; the serving image's is {image}, which decodes fewer formats"
        yield Finding(WARN, str(folder), words, "send PNG and JPEG only, which both decode")
