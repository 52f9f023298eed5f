"""The models that one server serves, the labels of their versions, and changes to both while it runs.

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
    """Managers by model name. `early_labels` lets a new label name a version that is not available yet."""

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
        """The servable that `spec` means; raises ServingError."""
        servable = self.acquire(spec)
        try:
            yield servable
        finally:
            servable.release()

    def acquire(self, spec: ModelSpec) -> Servable:
        """As `use`, for callers that release it themselves."""
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
        """One version if `spec` names one, else all, highest first. A label is ignored, as the C++ server does."""
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
        """The configured models."""
        return list(self._managers)

    def managers(self) -> list[ModelManager]:
        """The managers of the configured models."""
        return list(self._managers.values())

    # ---- changes

    def reload(self, message: Any) -> None:
        """Serve what a ModelServerConfig message says, and return when every new model has an available version."""
        self.apply(from_message(message, self._path_map))

    def apply(self, configs: Sequence[ModelConfig], *, starting: bool = False) -> None:
        """Serve these models and no others, and wait for new ones.

        On starting, a model without any version is waited for. Raises ServingError; nothing has changed then, unless
        it says that a new model did not become available. A later call does not wait for an earlier one.
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
            # The C++ server has two texts for this, one with a brace more.
            kind, opening = ("servable(s)", "{") if starting else ("model(s)", "")
            listed = "".join(f"{opening}{failure}}}, " for failure in failures)
            raise ServingError("UNKNOWN", f"{len(failures)} {kind} did not become available: {{{listed}}}")

    def stop(self) -> None:
        """Stop watching and free everything, once the requests that run have ended."""
        self.stop_waiting.set()
        threads = [threading.Thread(target=m.stop) for m in [*self._managers.values(), *self._dropped.values()]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _checked_labels(self, configs: Sequence[ModelConfig]) -> dict[str, dict[str, int]]:
        """The labels of each model, if they may be assigned now.

        That is checked before anything loads, so a label can only name a version that is available. With
        `early_labels` a *new* label may name one that is not; moving an existing label never may.
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
        """Change, start and drop managers; returns those of new models."""
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
                log.info("%s is not configured any more: unloading it", name)
                manager.drop()
                self._dropped[name] = manager
        self._managers = managers
        return fresh
