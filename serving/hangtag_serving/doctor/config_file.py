"""Examine a model config file: whether the server would accept it, and whether all that it names is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hangtag.errors import InvalidInput

from ..config_files import ModelConfig, read_config
from ..errors import ServingError
from ..models.version_policy import Specific, scan
from .base_path import examine_base_path
from .findings import FAIL, OK, WARN, Finding


def examine_config(path: Path, path_map: Mapping[str, Path]) -> Iterator[Finding]:
    """The file, then each model's labels and base path."""
    subject = str(path)
    try:
        configs = read_config(path, path_map)
    except (InvalidInput, ServingError) as error:
        fix = "correct the file: the server does not start with it, and refuses it whole when it reads it again"
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
            message = f"{config.name} lies in {config.base_path}, a path in the container: not looked at"
            yield Finding(WARN, "path-map", subject, message, "--path_map /models=models tells where that is here")
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
            yield Finding(FAIL, "policy-empty", subject, message, "name a version")
    served = config.policy(on_disk)
    for label, version in config.labels.items():
        if version not in served:
            message = f"label {label!r} of {config.name} points at version {version}, which this policy does not serve"
            fix = "name the version in model_version_policy { specific { … } }"
            yield Finding(FAIL, "label-not-served", subject, message, fix)
    if config.labels:
        message = f"{config.name} has labels: a first start needs --allow_version_labels_for_unavailable_models=true"
        fix = "give the flag; to move a label, load its version first (hangtag versions promote)"
        yield Finding(WARN, "labels", subject, message, fix)
        if served and max(served) not in {config.labels.get("stable", max(served))}:
            message = f"calls to {config.name} without a label are answered by version {max(served)}, not by `stable`"
            fix = "let clients name a label, or use the edge, which adds `stable`"
            yield Finding(WARN, "unlabelled", subject, message, fix)
