"""Reads a ModelServerConfig, from a file or a message: the models to serve, their base paths, policies and labels.

Semantics and texts: tensorflow_serving/model_servers/server_core.cc, recorded on 2.20.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..config_files import parse_text, read_text
from ..errors import ServingError, invalid
from .version_policy import Latest, Policy, Specific, every_version

_PLATFORM = "tensorflow"
_OTHER = 2  # ModelType


@dataclass(frozen=True)
class ModelConfig:
    """One model: its name, its base path, which versions to serve, and labels of versions."""

    name: str
    base_path: Path
    policy: Policy = Latest(1)  # noqa: RUF009 - frozen
    labels: Mapping[str, int] = field(default_factory=dict)


def read_config(path: Path, path_map: Mapping[str, Path]) -> list[ModelConfig]:
    """The models in a --model_config_file. Raises InvalidInput if it cannot be read, ServingError if it is invalid."""
    return parse_config(read_text(path, "model config file"), str(path), path_map)


def parse_config(text: str, name: str, path_map: Mapping[str, Path]) -> list[ModelConfig]:
    """The models in the text of a model config file."""
    pb = require("tensorflow_serving.config.model_server_config_pb2", extra="serving", what="hangtag serve")
    message = parse_text(text, pb.ModelServerConfig(), f"model config file {name}")
    if not message.HasField("model_config_list"):
        if message.HasField("custom_model_config"):
            raise InvalidInput(f"{name} has a custom_model_config: only model_config_list is supported")
        raise InvalidInput(f"the model config file {name} has no model_config_list: it is empty, or being written")
    return from_message(message, path_map)


def from_message(message: Any, path_map: Mapping[str, Path]) -> list[ModelConfig]:
    """The models in a ModelServerConfig message; raises ServingError. `path_map` replaces the beginnings of paths."""
    listed = message.model_config_list.config
    _check(listed)
    return [
        ModelConfig(
            config.name,
            _mapped(config.base_path, path_map),
            _policy(config.model_version_policy),
            dict(config.version_labels),
        )
        for config in listed
    ]


def _check(listed: Sequence[Any]) -> None:
    names: set[str] = set()
    for config in listed:
        if config.name in names:
            raise invalid(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
        if not (config.base_path.startswith("/") or "://" in config.base_path):
            raise invalid(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
    for config in listed:
        if config.model_type and config.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if not config.model_type and not config.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {config.name}"
            )
        if config.model_type == _OTHER:
            raise ServingError("UNIMPLEMENTED", "ModelServerConfig::model_type choice OTHER not supported.")
        if config.model_platform not in ("", _PLATFORM):
            raise invalid(f"model {config.name} has model_platform {config.model_platform}: only {_PLATFORM} is served")
        if "://" in config.base_path:
            raise invalid(not_local(config.name, config.base_path))


def not_local(name: str, base_path: str) -> str:
    """The error text for a bucket or another remote base path."""
    return (
        f"model {name} lies at {base_path}: only local folders are served; copy the versions to one, or mount the "
        "bucket as a folder"
    )


def _policy(message: Any) -> Policy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return every_version
    if choice == "specific":
        return Specific(tuple(message.specific.versions))
    return Latest(message.latest.num_versions if choice == "latest" else 1)


def _mapped(base_path: str, path_map: Mapping[str, Path]) -> Path:
    path = Path(base_path)
    for prefix, folder in path_map.items():
        if path.is_relative_to(prefix):
            return folder / path.relative_to(prefix)
    return path
