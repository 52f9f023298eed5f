"""The models that one server serves, and what both doors answer about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hangtag.model import ModelSpec

from .errors import ServingError, invalid
from .manager import ModelManager, Version
from .servable import Servable


class Models:
    """Managers by model name."""

    def __init__(self, managers: Mapping[str, ModelManager]) -> None:
        self._managers = managers

    @contextmanager
    def use(self, spec: ModelSpec) -> Iterator[Servable]:
        """The servable that `spec` means; raises ServingError."""
        if spec.version_label is not None:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        manager = self._managers.get(spec.name)
        if manager is None:
            wanted = f"Latest({spec.name})" if spec.version is None else f"Specific({spec.name}, {spec.version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")
        with manager.use(spec.version) as servable:
            yield servable

    def status(self, spec: ModelSpec) -> list[Version]:
        """One version if `spec` names one, else all, highest first. A label is ignored, as the C++ server does."""
        manager = self._managers.get(spec.name)
        versions = manager.versions() if manager else []
        if not versions:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        if spec.version is None:
            return versions
        chosen = [version for version in versions if version.number == spec.version]
        if not chosen:
            raise ServingError("NOT_FOUND", f"Could not find version {spec.version} of model {spec.name}")
        return chosen
