"""Reads deployment files within bounds, and examines them: compose files, Kubernetes files, kustomize folders."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hangtag.optional import require

from . import FAIL, OK, Finding
from .compose import examine_compose
from .kubernetes import examine_objects, examine_prerequisites

_MAX_VALUES = 1_000_000
"""Values of a file once its aliases are followed: a few lines of aliases of aliases stand for billions."""

_BUILD_SECONDS = 60


def examine_deployment(*paths: Path, cluster: bool = False) -> Iterator[Finding]:
    """The model servers in a file, or in compose files that are given together; a folder is built by kustomize.

    With `cluster`, what a kustomize folder needs beside its own objects is looked up in kubectl's current cluster.
    """
    subject = str(paths[0])
    try:
        yield from list(_examine(paths, cluster=cluster))
    except (OSError, ValueError) as error:
        yield Finding(FAIL, "unreadable-file", subject, f"cannot be read: {' '.join(str(error).split())}")
    except (AttributeError, TypeError, LookupError) as error:  # text where a mapping belongs, and the like
        message = f"is not a valid file for Docker Compose or Kubernetes: {' '.join(str(error).split())}"
        yield Finding(FAIL, "unreadable-file", subject, message)


def _examine(paths: Sequence[Path], *, cluster: bool) -> Iterator[Finding]:
    subject = str(paths[0])
    documents = [(path, document) for path in paths for document in _read(path)]
    objects = [document for _, document in documents if "kind" in document]
    compose = [(path, document) for path, document in documents if "services" in document and "kind" not in document]
    count, findings = examine_compose(compose) if compose else examine_objects(paths[0], objects)
    yield from findings
    if objects:
        yield from examine_prerequisites(subject, objects, cluster=cluster)
    if count:
        times = "one model server" if count == 1 else f"{count} model servers"
        yield Finding(OK, "deployment", subject, f"runs {times}")
    else:
        fix = "give a compose file, a Kubernetes file, or a kustomize folder"
        yield Finding(FAIL, "no-server", subject, "runs neither TensorFlow Serving nor hangtag serve", fix)


def is_kustomization(folder: Path) -> bool:
    """Whether kustomize can build this folder."""
    return any((folder / name).is_file() for name in ("kustomization.yaml", "kustomization.yml", "Kustomization"))


def _read(path: Path) -> list[dict[str, Any]]:
    return _documents(_build(path) if path.is_dir() else path.read_text(encoding="utf-8-sig"))


def _documents(text: str) -> list[dict[str, Any]]:
    """The mappings in a YAML file; the items of Kubernetes lists one by one. Raises ValueError."""
    yaml = require("yaml", extra="serving", what="hangtag doctor on YAML")

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        """Reads compose's own tags, !reset and !override, as the values they stand before."""

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_yaml_null(node) if node.value in ("", "null") else node.value

    Loader.add_multi_constructor("!", plain)
    try:
        documents = list(yaml.load_all(text, Loader=Loader))
        if _values(documents, {}) > _MAX_VALUES:
            raise ValueError(f"it has more than {_MAX_VALUES:,} values once its aliases are followed")
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or refers to itself") from error
    found = []
    for document in documents:
        items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else None
        found += items if isinstance(items, list) else [document]
    return [document for document in found if isinstance(document, dict)]


def _values(value: Any, known: dict[int, int]) -> int:
    """How many values `value` has, each as often as aliases repeat it."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(value)]


def _build(folder: Path) -> str:
    """The objects of a kustomize folder; raises ValueError."""
    command: Sequence[str]
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize", str(folder)]
    elif kustomize := shutil.which("kustomize"):
        command = [kustomize, "build", str(folder)]
    else:
        raise ValueError("it takes kubectl or kustomize to build the folder, and neither is installed")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{command[0]} failed: {error}") from error
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"{command[0]} failed")
    return done.stdout
