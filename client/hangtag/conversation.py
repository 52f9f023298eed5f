"""What is said to the server, in which order, and what is remembered of it: everything of a client but the sending.

Each method is a generator: it yields exchanges (one, or a list of functions that make them, to be sent side by side),
is sent their answers, and returns the result. So the threaded and the asyncio client share every decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from . import dialect_grpc, dialect_rest, dtypes
from .errors import BadResponse, InvalidInput, UnknownSignature
from .exchange import Exchange
from .fashion_mnist import translate
from .images import Encoded, Pixels, collect
from .model import ModelMetadata, ModelSpec, Reply, Signature, VersionStatus
from .plan import LABELS, Plan, find_signature, plan_classify
from .results import Classification

T = TypeVar("T")
Step = Exchange[Any] | list[Callable[[], Exchange[Any]]]
Flow = Generator[Step, Any, T]

REST_MEMORY = 5.0
"""Seconds for which metadata is trusted over REST, whose answers do not say which version computed them."""


class Dialect(Protocol):
    """How requests are written and answers read: the modules `dialect_grpc` and `dialect_rest`."""

    def predict(self, spec: ModelSpec, inputs: Mapping[str, np.ndarray], signature: Signature) -> Exchange[Reply]:
        """Predict."""

    def metadata(self, spec: ModelSpec) -> Exchange[ModelMetadata]:
        """GetModelMetadata."""

    def status(self, spec: ModelSpec) -> Exchange[tuple[VersionStatus, ...]]:
        """GetModelStatus."""


@dataclass
class Conversation:
    """Talks about one model. `labels` are class names of the caller's own; None asks the model for them."""

    protocol: str
    spec: ModelSpec
    labels: tuple[str, ...] | None = None
    language: str = "en"
    batch_size: int | None = None
    _models: dict[int, ModelMetadata] = field(default_factory=dict)
    _names: dict[int, tuple[str, ...] | None] = field(default_factory=dict)
    _newest: int | None = None
    _asked_at: float = float("-inf")

    @property
    def _dialect(self) -> Dialect:
        return dialect_grpc if self.protocol == "grpc" else dialect_rest

    # ---- asking the model

    def status(self) -> Flow[tuple[VersionStatus, ...]]:
        """The states of the model's versions, newest first."""
        statuses: tuple[VersionStatus, ...] = yield self._dialect.status(self.spec)
        return tuple(sorted(statuses, key=lambda status: -status.version))

    def metadata(self) -> Flow[ModelMetadata]:
        """The signatures of the version that answers now."""
        model = yield from self._ask(self.spec._replace(signature=""))
        self._newest, self._asked_at = model.version, time.monotonic()
        return model

    def class_names(self) -> Flow[tuple[str, ...]]:
        """The class names, in label order."""
        model = yield from self.metadata()
        names = yield from self._class_names(model, _class_count(model, self.spec.signature))
        if names is None:
            raise UnknownSignature(
                f"{model.name} version {model.version} does not tell its class names; pass labels=[…] to the client"
            )
        return translate(names, self.language)

    def _ask(self, spec: ModelSpec) -> Flow[ModelMetadata]:
        model: ModelMetadata = yield self._dialect.metadata(spec)
        self._models[model.version] = model
        return model

    def _known(self) -> ModelMetadata | None:
        """What is remembered of the version that would answer now, if that can be trusted."""
        if self.spec.version is not None:
            return self._models.get(self.spec.version)
        if self.protocol == "rest" and time.monotonic() - self._asked_at > REST_MEMORY:
            return None
        return self._models.get(self._newest) if self._newest is not None else None

    def _class_names(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        """The caller's names, or the model's; None if there are none."""
        if self.labels is not None:
            names: tuple[str, ...] | None = self.labels
        else:
            if model.version not in self._names:
                self._names[model.version] = yield from self._ask_names(model, classes)
            names = self._names[model.version]
        if names is not None and classes is not None and len(names) != classes:
            raise InvalidInput(f"{len(names)} class names for the {classes} classes of {model.name}")
        return names

    def _ask_names(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        signature = model.signatures.get(LABELS)
        if (
            signature is None
            or set(signature.inputs) != {"index"}
            or "class_name" not in signature.outputs
            or not classes
        ):
            return None
        spec = ModelSpec(self.spec.name, model.version, None, LABELS)
        reply: Reply = yield self._dialect.predict(spec, {"index": np.arange(classes, dtype=np.int64)}, signature)
        found = reply.outputs.get("class_name")
        if found is None or found.shape != (classes,) or found.dtype != object:
            raise BadResponse(f"the labels signature of {model.name} does not answer with {classes} names")
        return tuple(name.decode("utf-8", "replace") for name in found.tolist())

    # ---- predicting

    def predict(self, inputs: Mapping[str, Any], signature: str | None) -> Flow[dict[str, np.ndarray]]:
        """One request, as it is."""
        spec = self.spec if signature is None else self.spec._replace(signature=signature)
        model = self._known() or (yield from self.metadata())
        found = find_signature(model, spec.signature)
        arrays = {name: _input(name, value, found) for name, value in inputs.items()}
        missing = ", ".join(found.inputs.keys() - arrays.keys())
        if missing:
            raise InvalidInput(f"signature {spec.signature!r} also needs {missing}")
        reply: Reply = yield self._dialect.predict(spec, arrays, found)
        self._saw(reply.version)
        return reply.outputs

    def classify(self, images: Any) -> Flow[Classification]:
        """Class names for any number of images; all of them are answered by one version."""
        batch = collect(images)
        model = self._known()
        try:
            plan = self._plan(batch, model or (yield from self.metadata()))
        except (InvalidInput, UnknownSignature):
            if model is None:
                raise
            # What an older version refuses, the one that serves now may take.
            plan = self._plan(batch, (yield from self.metadata()))
        spec = self.spec._replace(signature=plan.signature_name)
        chunks = plan.chunks()
        replies: list[Reply] = yield self._requests(spec, chunks, plan)
        version = max((reply.version for reply in replies if reply.version is not None), default=None)
        stale = [number for number, reply in enumerate(replies) if reply.version != version]
        if stale:  # a new version came in between: its answers and the old one's must not be mixed
            pinned = spec._replace(version=version, version_label=None)
            again: list[Reply] = yield self._requests(pinned, [chunks[number] for number in stale], plan)
            for number, reply in zip(stale, again, strict=True):
                replies[number] = reply
        probabilities = _join(replies, chunks, plan)
        self._saw(version)
        return (yield from self._named(probabilities, version))

    def _plan(self, batch: Pixels | Encoded, model: ModelMetadata) -> Plan:
        return plan_classify(batch, model, self.spec.signature, protocol=self.protocol, batch_size=self.batch_size)

    def _requests(
        self, spec: ModelSpec, chunks: Sequence[dict[str, np.ndarray]], plan: Plan
    ) -> list[Callable[[], Exchange[Reply]]]:
        return [partial(self._dialect.predict, spec, inputs, plan.signature) for inputs in chunks]

    def _saw(self, version: int | None) -> None:
        if version is not None:
            self._newest = version

    def _named(self, probabilities: np.ndarray, version: int | None) -> Flow[Classification]:
        model = self._known()
        if model is None:  # a version not seen before answered, or the memory of a long REST call has run out
            spec = ModelSpec(self.spec.name, version) if version is not None else self.spec._replace(signature="")
            model = yield from self._ask(spec)
        classes = probabilities.shape[1]
        names = yield from self._class_names(model, classes)
        if names is None:
            names = tuple(str(index) for index in range(classes))
        shown = self.spec.version if version is None else version
        return Classification(probabilities, translate(names, self.language), model_version=shown)


def _class_count(model: ModelMetadata, signature_name: str) -> int | None:
    signature = find_signature(model, signature_name)
    output = signature.outputs.get("probabilities") or next(iter(signature.outputs.values()), None)
    return output.shape[-1] if output is not None and output.shape else None


def _join(replies: Sequence[Reply], chunks: Sequence[dict[str, np.ndarray]], plan: Plan) -> np.ndarray:
    """The probabilities of all chunks, float32 [N, C]."""
    if not replies:
        return np.zeros((0, plan.classes or 0), np.float32)
    parts = []
    for reply, inputs in zip(replies, chunks, strict=True):
        part = reply.outputs.get(plan.output_name)
        rows = len(inputs[plan.input_name])
        if part is None or part.ndim != 2 or len(part) != rows or part.shape[1] == 0 or part.dtype.kind != "f":
            shape = "nothing" if part is None else f"{part.dtype} {list(part.shape)}"
            raise BadResponse(
                f"{plan.output_name} for {rows} images came as {shape}; expected floats [{rows}, classes]"
            )
        parts.append(part)
    if len({part.shape[1] for part in parts}) > 1:
        raise BadResponse(f"{plan.output_name} came with differing numbers of classes")
    return np.concatenate(parts).astype(np.float32, copy=False)


def _input(name: str, value: Any, signature: Signature) -> np.ndarray:
    """One input of `predict`: cast where nothing is lost, checked for dtype, rank and fixed dimensions."""
    spec = signature.inputs.get(name)
    if spec is None:
        raise InvalidInput(f"the signature has no input {name!r}; it takes {', '.join(signature.inputs)}")
    array = np.asarray(value)
    wanted = dtypes.BY_NAME.get(spec.dtype)
    if wanted is None:
        raise InvalidInput(f"input {name!r} is {spec.dtype}, which no request can carry")
    if dtypes.of_array(array) is not wanted:
        exact = not array.size or (np.can_cast(array.dtype, wanted.numpy) and wanted is not dtypes.STRING)
        listed = not isinstance(value, np.ndarray) and array.dtype.kind in "if" and wanted.numpy.kind in "iuf"
        cast = array.astype(wanted.numpy) if exact or listed else array
        if not (exact or (listed and (wanted.numpy.kind == "f" or (cast == array).all()))):
            raise InvalidInput(f"input {name!r} takes {spec} and was given {array.dtype}")
        array = cast
    shape = spec.shape
    if shape is not None and (
        len(shape) != array.ndim or any(want not in (None, have) for have, want in zip(array.shape, shape, strict=True))
    ):
        raise InvalidInput(f"input {name!r} takes {spec} and was given shape {list(array.shape)}")
    return array
