"""Examine a models.config: whether the server would take it, and whether all that it names is there."""

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
        yield Finding(FAIL, subject, str(error), "mend the file; the server refuses it whole")
        return
    if not configs:
        yield Finding(
            FAIL, subject, "lists no model", 'add config { name: … base_path: … model_platform: "tensorflow" }'
        )
        return
    yield Finding(OK, subject, f"serves {', '.join(config.name for config in configs)}")
    for config in configs:
        yield from _examine_versions(subject, config)
        yield from examine_base_path(config.base_path)


def _examine_versions(subject: str, config: ModelConfig) -> Iterator[Finding]:
    try:
        on_disk = scan(config.base_path)
    except OSError:
        return  # examine_base_path says so
    if isinstance(config.policy, Specific):
        for version in config.policy.versions:
            if version not in on_disk:
                words = f"{config.name} asks for version {version}, which is not in {config.base_path}"
                yield Finding(FAIL, subject, words, "publish it, or take it out of the policy")
        if not config.policy.versions:
            yield Finding(
                FAIL, subject, f"{config.name} has an empty specific policy: everything is unloaded", "name a version"
            )
    served = config.policy(on_disk)
    for label, version in config.labels.items():
        if version not in served:
            words = f"label {label!r} of {config.name} points at version {version}, which this policy does not serve"
            yield Finding(FAIL, subject, words, "name the version in model_version_policy { specific { … } }")
    if config.labels:
        words = f"{config.name} has labels: a first start needs --allow_version_labels_for_unavailable_models=true"
        yield Finding(
            WARN, subject, words, "give the flag; to move a label, load its version first (hangtag versions promote)"
        )
