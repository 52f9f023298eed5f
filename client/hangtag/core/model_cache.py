"""What is remembered of a model's versions between the calls of a client. Pure: `conversation` does the asking."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..model import ModelMetadata, ModelSpec, Reply
from ..results import Classification
from .validation import Plan, fixed_rows

REST_MEMORY = 5.0
"""Seconds for which metadata is trusted over REST, whose answers do not say which version computed them."""

_PLAIN = (np.ndarray, np.memmap)  # a subclass of another's may not be what it holds, as a masked array is not


@dataclass
class Memory:
    """By version: metadata, class names (None: the model does not tell them), and what has been decided for good."""

    protocol: str
    spec: ModelSpec
    models: dict[int, ModelMetadata] = field(default_factory=dict)
    names: dict[int, tuple[str, ...] | None] = field(default_factory=dict)
    logits: set[tuple[int | None, str]] = field(default_factory=set)
    _newest: int | None = None
    _asked_at: float = float("-inf")
    _plans: dict[tuple[int, tuple[int, ...]], Plan] = field(default_factory=dict)
    _settled: dict[tuple[int, int, str], tuple[str, ...]] = field(default_factory=dict)

    def learn(self, model: ModelMetadata, *, newest: bool) -> None:
        """Keep metadata; `newest` says that this version answers now."""
        self.models[model.version] = model
        self._plans.clear()
        self._settled.clear()
        if newest:
            self._newest, self._asked_at = model.version, time.monotonic()

    def saw(self, version: int | None) -> None:
        """Note which version answered."""
        if version is not None:
            self._newest = version

    def current(self) -> ModelMetadata | None:
        """Metadata of the version that would answer now, if what is remembered of it can be trusted."""
        if self.spec.version is not None:
            return self.models.get(self.spec.version)
        if self.protocol == "rest" and time.monotonic() - self._asked_at > REST_MEMORY:
            return None
        return self.models.get(self._newest) if self._newest is not None else None

    # ---- uint8 images in one request, the common case: what fitted once fits again, and only the shape is looked at

    def keep_plan(self, model: ModelMetadata, plan: Plan) -> None:
        """`plan` sends its uint8 images as they were given; whether their number fits is looked at each time."""
        if fixed_rows(plan.signature.inputs[plan.input_name]) is None:
            self._plans[model.version, plan.array.shape[1:]] = plan._replace(array=np.empty(0, np.uint8))

    def plan_like(self, images: Any) -> Plan | None:
        """How images of this shape went before."""
        if not (type(images) in _PLAIN and images.dtype == np.uint8 and images.ndim and len(images)):
            return None
        model = self.current()
        plan = None if model is None else self._plans.get((model.version, images.shape[1:]))
        return None if plan is None else Plan._make((*plan[:3], images, *plan[4:]))  # _replace takes twice as long

    def keep_names(self, version: int | None, plan: Plan, names: tuple[str, ...]) -> None:
        """`version` takes what was planned so; its scores are surely no logits, and these its classes' names."""
        if version is not None:
            self._settled[version, plan.version, plan.signature_name] = names

    def result(self, plan: Plan, reply: Reply, thumbnails: np.ndarray) -> Classification | None:
        """The result of a request's answer, if nothing of it needs to be found out any more."""
        version, found = reply.version, reply.outputs.get(plan.output_name)
        if version is None or found is None:
            return None
        names = self._settled.get((version, plan.version, plan.signature_name))
        if names is None or found.shape != (len(plan.array), len(names)) or found.dtype != np.float32:
            return None
        self._newest = version
        return Classification(found, names, model_version=version, thumbnails=thumbnails)
