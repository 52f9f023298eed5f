"""The models that a server serves, with the labels of their versions; both may change while it runs.

Semantics and texts: tensorflow_serving/model_servers/server_core.cc, recorded on 2.20.0.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hangtag.model import ModelSpec

from ..errors import ServingError, invalid
from .lifecycle import ModelManager, Version
from .model_config import ModelConfig, from_message
from .servable import Servable

log = logging.getLogger("hangtag.serving")

Make = Callable[[ModelConfig], ModelManager]


class Models:
    """All models of a server. With `early_labels`, a new label may name a version that is not available yet."""

    def __init__(self, make: Make, *, early_labels: bool = False, path_map: Mapping[str, Path] | None = None) -> None:
        self._make, self._early_labels, self._path_map = make, early_labels, path_map or {}
        self._managers: dict[str, ModelManager] = {}  # replaced, never changed: readers take no lock
        self._dropped: dict[str, ModelManager] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._configs: list[ModelConfig] = []
        self._changing = threading.Lock()
        self.stop_waiting = threading.Event()

    # ---- for requests

    @contextmanager
    def use(self, spec: ModelSpec) -> Iterator[Servable]:
        """The version that `spec` names; raises ServingError. It is not unloaded while in use."""
        servable = self.acquire(spec)
        try:
            yield servable
        finally:
            servable.release()

    def acquire(self, spec: ModelSpec) -> Servable:
        """Like `use`, but the caller must release the version."""
        version = spec.version
        if spec.version_label is not None:
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        manager = self._managers.get(spec.name)
        if manager is None:
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return manager.acquire(version)

    def status(self, spec: ModelSpec) -> list[Version]:
        """The version that `spec` names, else all, highest first. A label is ignored, as in C++."""
        manager = self._managers.get(spec.name) or self._dropped.get(spec.name)
        versions = manager.versions() if manager else []
        if spec.version is None:
            if not versions:
                raise ServingError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
            return versions
        chosen = [version for version in versions if version.number == spec.version]
        if not chosen:
            raise ServingError("NOT_FOUND", f"Could not find version {spec.version} of model {spec.name}")
        return chosen

    def names(self) -> list[str]:
        """The names of the configured models."""
        return list(self._managers)

    # ---- changes

    def reload(self, message: Any) -> None:
        """Apply a ModelServerConfig message, and wait until every new model has an available version."""
        self.apply(from_message(message, self._path_map))

    def apply(self, configs: Sequence[ModelConfig], *, starting: bool = False) -> None:
        """Serve exactly these models, and wait until the new ones are available.

        With `starting`, this also waits for a model that has no version yet. Raises ServingError; then nothing has
        changed, unless the error says that a new model did not become available. A later call does not wait for an
        earlier one.
        """
        with self._changing:
            if list(configs) == self._configs:
                return
            labels = self._checked_labels(configs)
            fresh = self._replace(configs)
            self._labels, self._configs = labels, list(configs)
        for manager in fresh:
            manager.wait_settled(self.stop_waiting, for_versions=starting)
        failures = [failure for manager in fresh if (failure := manager.failure())]
        if failures and not self.stop_waiting.is_set():
            # The C++ server has two texts for this; one of them has another brace.
            kind, opening = ("servable(s)", "{") if starting else ("model(s)", "")
            listed = "".join(f"{opening}{failure}}}, " for failure in failures)
            raise ServingError("UNKNOWN", f"{len(failures)} {kind} did not become available: {{{listed}}}")

    def stop(self) -> None:
        """Stop watching, wait for running requests, and free all models."""
        self.stop_waiting.set()
        threads = [threading.Thread(target=m.stop) for m in [*self._managers.values(), *self._dropped.values()]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _checked_labels(self, configs: Sequence[ModelConfig]) -> dict[str, dict[str, int]]:
        """The labels of each model; raises ServingError if one may not be assigned now.

        This is checked before anything is loaded, so a label can only name an available version. With `early_labels`, a
        *new* label may name another version; an existing label may not move to one.
        """
        for config in configs:
            manager, known = self._managers.get(config.name), self._labels.get(config.name, {})
            for label, version in sorted(config.labels.items()):
                available = manager is not None and manager.is_available(version)
                early = self._early_labels and known.get(label, version) == version
                if not available and not early:
                    raise ServingError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {version} of model {config.name}, which is not currently "
                        "available for inference",
                    )
        return {config.name: dict(config.labels) for config in configs}

    def _replace(self, configs: Sequence[ModelConfig]) -> list[ModelManager]:
        """Change, start and drop managers; returns the managers of new models."""
        managers: dict[str, ModelManager] = {}
        fresh = []
        for config in configs:
            manager = self._managers.get(config.name)
            if manager is not None:
                manager.change(config)
            elif (manager := self._dropped.pop(config.name, None)) is not None:
                manager.revive(config)
                fresh.append(manager)
            else:
                manager = self._make(config)
                manager.start()
                fresh.append(manager)
            managers[config.name] = manager
        for name, manager in self._managers.items():
            if name not in managers:
                log.info("%s is no longer in the config: unloading it", name)
                manager.drop()
                self._dropped[name] = manager
        self._managers = managers
        return fresh
