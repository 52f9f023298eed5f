"""Reads and changes TensorFlow Serving's model config file, and writes it so that the server accepts it.

The file is a ModelServerConfig in protobuf's text format (tensorflow_serving/config/model_server_config.proto). The
server refuses the whole config if one model is wrong: its base path is not absolute, its `model_platform` is missing,
or it is listed twice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Set
from pathlib import Path
from typing import Any

from hangtag.optional import require

from ..errors import ConfigError
from .atomic import sync

_WHAT = "reading or changing a model config file"


class ModelConfig:
    """One model's entry in a config file. Change it with the methods, then `write` the file.

    `labels` is version label to number; `policy` is "latest", "all" or "specific".
    """

    def __init__(self, path: Path, model: str, *, create_for: Path | None = None) -> None:
        """Read `path`; raises ConfigError. A file that does not exist is created, for the base path `create_for`."""
        self.path, self.model = path, model
        self.document, self.text = _parse(path, missing_ok=create_for is not None)
        self._head = _comments_at_the_head(self.text or "")
        entries = {entry.name: entry for entry in self.document.model_config_list.config}
        if len(entries) < len(self.document.model_config_list.config):
            raise ConfigError(f"{path} lists a model twice: TensorFlow Serving refuses it")
        if not entries and create_for is not None:
            entry = self.document.model_config_list.config.add(name=model, base_path=os.path.realpath(create_for))
            entries = {model: entry}
        if model not in entries:
            raise ConfigError(f"{path} has no model {model!r} (it has {', '.join(sorted(entries)) or 'none'})")
        for name, entry in entries.items():
            if not entry.base_path.startswith("/") and "://" not in entry.base_path:
                raise ConfigError(f"{path}: base_path {entry.base_path!r} of model {name!r} is not absolute")
            if not entry.model_platform and not entry.model_type:
                entry.model_platform = "tensorflow"
        self._entry = entries[model]

    @property
    def base_path(self) -> Path:
        """The base path as the server sees it, which may be a path in a container."""
        return Path(self._entry.base_path)

    @property
    def labels(self) -> dict[str, int]:
        return dict(self._entry.version_labels)

    @property
    def policy(self) -> str:
        return self._entry.model_version_policy.WhichOneof("policy_choice") or "latest"

    @property
    def specific(self) -> set[int]:
        """The versions that a specific policy names."""
        return set(self._entry.model_version_policy.specific.versions) if self.policy == "specific" else set()

    def named(self) -> set[int]:
        """Every version that a label or a specific policy needs."""
        return self.specific | set(self.labels.values())

    def wanted(self, on_disk: Set[int]) -> set[int]:
        """The versions of `on_disk` that a server with this config loads."""
        if self.policy == "specific":
            return self.specific & on_disk
        if self.policy == "all":
            return set(on_disk)
        count = max(self._entry.model_version_policy.latest.num_versions, 1)
        return set(sorted(on_disk)[-count:])

    def serve(self, versions: Set[int]) -> None:
        """Load exactly `versions`, with a specific policy. The policy "all" stays, because it loads them anyway."""
        if self.policy != "all":
            policy = self._entry.model_version_policy
            policy.specific.ClearField("versions")
            policy.specific.versions.extend(sorted(versions))

    def move(self, label: str, version: int) -> None:
        """Point `label` to `version`."""
        self._entry.version_labels[label] = version

    def write(self) -> None:
        """Replace the file atomically: a reader sees the old or the new text, never a part of it."""
        text_format = require("google.protobuf.text_format", extra="export", what=_WHAT)
        self.text = self._head + text_format.MessageToString(self.document)
        replace(self.path, self.text)


def replace(path: Path, text: str) -> None:
    """Replace a file's text atomically and keep its mode; a link stays a link. Raises ConfigError."""
    path = Path(os.path.realpath(path))
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
            sync(path.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; it is unchanged") from error


def _parse(path: Path, *, missing_ok: bool) -> tuple[Any, str | None]:
    """The message and its text; an empty message and None if the file does not exist."""
    messages = require("tensorflow_serving.config.model_server_config_pb2", extra="export", what=_WHAT)
    text_format = require("google.protobuf.text_format", extra="export", what=_WHAT)
    document = messages.ModelServerConfig()
    try:
        text = path.read_text(encoding="utf-8-sig")
        text_format.Parse(text, document)
    except FileNotFoundError as error:
        if missing_ok:
            return document, None
        raise ConfigError(f"there is no {path}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a model config: {' '.join(str(error).split())[:300]}") from error
    if document.WhichOneof("config") == "custom_model_config":
        raise ConfigError(f"{path} has a custom_model_config: only a model_config_list can be changed")
    return document, text


def _comments_at_the_head(text: str) -> str:
    """The comments before the first entry, which often say who may change the file. protobuf drops all comments."""
    lines = text.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[:end])
