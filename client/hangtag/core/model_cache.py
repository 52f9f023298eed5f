"""What a client remembers of a model's versions between calls. The session fills it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Self

import numpy as np

from ..images.input import Encoded, Pixels
from ..model import ModelMetadata, ModelSpec
from .validation import Plan

REST_METADATA = 5.0
"""Seconds for which metadata stays valid over REST, where a response does not tell which version computed it."""

_MAX_VERSIONS = 64  # a long-lived client may see many versions


class Meaning(NamedTuple):
    """What the scores of a signature mean: the class names, and how to convert the scores to probabilities.

    `columns` is the number of scores per image. `kind` is one of the contract's SCORES, or None if it is unknown; then
    the scores are used unchanged. `converted`: the scores must be converted or checked. `independent`: the classes do
    not exclude each other.
    """

    names: tuple[str, ...]
    columns: int
    kind: str | None
    converted: bool
    independent: bool

    @classmethod
    def of(cls, names: tuple[str, ...], columns: int, kind: str | None = None) -> Self:
        """The meaning of scores of that kind. Several sigmoids are independent; a single one stands for two classes."""
        independent = kind == "sigmoid" and columns > 1
        return cls(names, columns, kind, columns == 1 or kind in ("logits", "sigmoid"), independent)


class ModelCache:
    """Metadata and class names by version, and plans for images by dtype and shape.

    `names` come from the model's `labels` signature; None stands for a model without one. `settled` has the meaning of
    the scores for each (version, signature) that has answered.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self.models: dict[int, ModelMetadata] = {}
        self.names: dict[int, tuple[str, ...] | None] = {}
        self.settled: dict[tuple[int, str], Meaning] = {}
        self._latest: dict[str | None, tuple[int, float]] = {}  # by version label: the version, and when it was learnt
        self._plans: dict[tuple[ModelSpec, np.dtype, tuple[int, ...]], Plan] = {}

    def learn(self, model: ModelMetadata, spec: ModelSpec | None = None) -> None:
        """Store metadata. With `spec`, record that this version answers requests for `spec` now."""
        if self.models.get(model.version) != model:
            if len(self.models) >= _MAX_VERSIONS:
                self.models.clear()
                self.names.clear()
            self._plans.clear()
            self.settled.clear()
            self.models[model.version] = model
        if spec is not None:
            self.answered(spec, model.version)

    def answered(self, spec: ModelSpec, version: int) -> None:
        """Record that `version` answered a request for `spec`."""
        if self._latest.get(spec.version_label, (-1, 0.0))[0] != version:
            self._plans.clear()
        self._latest[spec.version_label] = (version, time.monotonic())

    def forget(self, spec: ModelSpec) -> None:
        """Record that the version which answered requests for `spec` is gone."""
        self._latest.pop(spec.version_label, None)
        self._plans.clear()

    def current(self, spec: ModelSpec) -> ModelMetadata | None:
        """Metadata of the version that would answer requests for `spec` now, if it is known and recent."""
        if spec.version is not None:
            return self.models.get(spec.version)
        version, learnt = self._latest.get(spec.version_label, (-1, 0.0))
        if self._protocol == "rest" and time.monotonic() - learnt > REST_METADATA:
            return None
        return self.models.get(version)

    # ---- plans: after one array was sent unchanged, arrays of the same dtype and shape skip validation

    def add_plan(self, batch: Pixels | Encoded, spec: ModelSpec, plan: Plan) -> None:
        """Store the plan for `batch`, if every array of its dtype and shape is sent unchanged for `spec`."""
        if not isinstance(batch, Pixels) or not isinstance(batch.data, np.ndarray) or not len(plan.array):
            return
        data, array = batch.data, plan.array
        shape = plan.signature.inputs[plan.input_name].shape
        same_memory = array.__array_interface__["data"] == data.__array_interface__["data"]
        same_shape = array.shape in (data.shape, (1, *data.shape))
        if same_memory and same_shape and array.dtype == data.dtype and shape is not None and shape[0] is None:
            self._plans[spec, array.dtype, array.shape[1:]] = plan._replace(array=np.empty(0))

    def plan_for(self, data: Any, spec: ModelSpec) -> Plan | None:
        """The plan for `data`, if an array of its dtype and shape was sent before; a single image becomes a batch."""
        if type(data) is not np.ndarray or not data.ndim or not data.size:  # subclasses, such as masked, need a check
            return None
        plan = self._plans.get((spec, data.dtype, data.shape[1:]))
        if plan is None:
            plan, data = self._plans.get((spec, data.dtype, data.shape)), data[np.newaxis]
        if plan is None or (
            self._protocol == "rest"
            and spec.version is None
            and time.monotonic() - self._latest[spec.version_label][1] > REST_METADATA
        ):
            return None
        return Plan._make((*plan[:3], data, *plan[4:]))  # _replace takes twice as long
