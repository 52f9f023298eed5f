"""What a client remembers of a model's versions between calls. The session does the asking."""

from __future__ import annotations

import time

import numpy as np

from ..model import ModelMetadata, ModelSpec
from .image_input import Encoded, Pixels
from .validation import Plan, fixed_rows

REST_METADATA = 5.0
"""Seconds for which metadata is used over REST, whose responses do not tell which version computed them."""

_MAX_VERSIONS = 64  # of a long-lived client, whose server counts on


class ModelCache:
    """By version: metadata, class names, and how images of a shape are sent.

    `names` are those of the model's `labels` signature, None for a model that has none. `logits` holds the (version,
    signature) whose scores are logits; `settled` the class names of those whose scores are known to be probabilities.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self.models: dict[int, ModelMetadata] = {}
        self.names: dict[int, tuple[str, ...] | None] = {}
        self.logits: set[tuple[int, str]] = set()
        self.settled: dict[tuple[int, str], tuple[str, ...]] = {}
        self._latest: dict[str | None, tuple[int, float]] = {}  # by version label: the version, and when it was learnt
        self._plans: dict[tuple[int, np.dtype, tuple[int, ...]], Plan] = {}

    def learn(self, model: ModelMetadata, spec: ModelSpec | None = None) -> None:
        """Store metadata; with `spec`, this is the version that answers requests for `spec` now."""
        if self.models.get(model.version) != model:
            if len(self.models) >= _MAX_VERSIONS:
                self.models.clear()
                self.names.clear()
                self.logits.clear()
            self._plans.clear()
            self.settled.clear()
            self.models[model.version] = model
        if spec is not None:
            self._latest[spec.version_label] = (model.version, time.monotonic())

    def answered(self, spec: ModelSpec, version: int) -> None:
        """`version` answered a request for `spec`."""
        self._latest[spec.version_label] = (version, time.monotonic())

    def forget(self, spec: ModelSpec) -> None:
        """The version that answered requests for `spec` is gone."""
        self._latest.pop(spec.version_label, None)

    def current(self, spec: ModelSpec) -> ModelMetadata | None:
        """Metadata of the version that would answer requests for `spec` now, if it is known and recent."""
        if spec.version is not None:
            return self.models.get(spec.version)
        version, learnt = self._latest.get(spec.version_label, (-1, 0.0))
        if self._protocol == "rest" and time.monotonic() - learnt > REST_METADATA:
            return None
        return self.models.get(version)

    # ---- plans: arrays that are sent as they are need no second look at the model, only at their shape

    def add_plan(self, batch: Pixels | Encoded, plan: Plan) -> None:
        """Store how `batch` is sent, if arrays of its dtype and shape are always sent as they are."""
        if not isinstance(batch, Pixels) or not isinstance(batch.data, np.ndarray) or not len(plan.array):
            return
        data, array = batch.data, plan.array
        spec = plan.signature.inputs[plan.input_name]
        same_memory = array.__array_interface__["data"] == data.__array_interface__["data"]
        same_shape = array.shape == data.shape or array.shape == (1, *data.shape)
        if same_memory and same_shape and array.dtype == data.dtype and spec.shape and fixed_rows(spec) is None:
            self._plans[plan.version, array.dtype, array.shape[1:]] = plan._replace(array=np.empty(0))

    def plan_for(self, batch: Pixels | Encoded, spec: ModelSpec) -> Plan | None:
        """The plan for `batch`, if an array of its dtype and shape was sent before; one image counts as a batch."""
        data = batch.data if isinstance(batch, Pixels) else None
        model = self.current(spec)
        if model is None or not isinstance(data, np.ndarray) or not data.size:
            return None
        plan = self._plans.get((model.version, data.dtype, data.shape[1:]))
        if plan is None:
            plan = self._plans.get((model.version, data.dtype, data.shape))
            data = data[np.newaxis]
        return None if plan is None else Plan._make((*plan[:3], data, *plan[4:]))  # _replace takes twice as long
