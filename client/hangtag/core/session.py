"""What is said to the server, in which order, and what is remembered of it: everything of a client but the sending.

Most methods are generators, flows: they yield what is to be sent, are sent the answers, and return the result. So the
threaded and the asyncio client share every decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from ..errors import BadResponse, InvalidInput, UnknownSignature
from ..fashion_mnist import translate
from ..model import ModelMetadata, ModelSpec, Reply, Signature, VersionStatus
from ..photo import prepared
from ..protocol.tensors import Inputs
from ..results import Classification
from ..thumbnails import keep
from . import scores
from .image_input import Encoded, Pixels, collect
from .model_cache import Memory
from .predict_inputs import fit_inputs
from .steps import Call, Exchange, Flow, SideBySide
from .validation import LABELS, Parcel, Plan, find_signature, plan_classify

Progress = Callable[[int, int], object]

MAX_CLASSES = 1_000_000
"""More names than this are not asked for: their number is the server's word."""


class Dialect(Protocol):
    """How requests are written and answers read: the modules `dialect_grpc` and `dialect_rest`."""

    def predict(self, spec: ModelSpec, inputs: Inputs, signature: Signature) -> Exchange[Reply]:
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
    _memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self._memory = Memory(self.protocol, self.spec)

    @cached_property
    def _dialect(self) -> Dialect:
        # Imported when the first request is written: a client speaks one of the two.
        if self.protocol == "grpc":
            from ..protocol import grpc_codec

            return grpc_codec
        from ..protocol import rest_codec

        return rest_codec

    # ---- asking the model

    def status(self) -> Flow[tuple[VersionStatus, ...]]:
        """The states of the model's versions, newest first."""
        statuses: tuple[VersionStatus, ...] = yield self._dialect.status(self.spec)
        return tuple(sorted(statuses, key=lambda status: -status.version))

    def metadata(self) -> Flow[ModelMetadata]:
        """The signatures of the version that answers now."""
        model: ModelMetadata = yield self._dialect.metadata(self.spec._replace(signature=""))
        self._memory.learn(model, newest=True)
        return model

    def class_names(self) -> Flow[tuple[str, ...]]:
        """The class names, in label order."""
        model = yield from self.metadata()
        names = yield from self._class_names(model, scores.class_count(model, self.spec.signature))
        if names is None:
            raise UnknownSignature(
                f"{model.name} version {model.version} does not tell its class names; pass labels=[…] to the client"
            )
        return translate(names, self.language)

    def _class_names(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        """The caller's names, or the model's; None if there are none."""
        if self.labels is not None:
            names: tuple[str, ...] | None = self.labels
        else:
            known = self._memory.names
            if model.version not in known:
                known[model.version] = yield from self._ask_names(model, classes)
            names = known[model.version]
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
            or classes > MAX_CLASSES
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
        known = self._memory.current()
        model = known or (yield from self.metadata())
        try:
            found, arrays = _fit(inputs, model, spec.signature)
        except (InvalidInput, UnknownSignature):
            if known is None:
                raise
            model = yield from self.metadata()  # what an older version refuses, the one that serves now may take
            found, arrays = _fit(inputs, model, spec.signature)
        reply: Reply = yield self._dialect.predict(spec, arrays, found)
        self._memory.saw(reply.version)
        if reply.version not in (None, model.version):  # it has come meanwhile, and may take something else
            _fit(inputs, (yield from self._model_of(reply.version)), spec.signature)
        return reply.outputs

    def classify(self, images: Any, prepare: str | None, progress: Progress | None) -> Flow[Classification]:
        """Class names for any number of images; all of them are answered by one version."""
        plan = self.plan_like(images) if prepare is None else None
        if plan is None:
            plan = yield from self.plan(collect(prepared(images, prepare)))
        count = len(plan.array)
        if progress is None and 0 < count <= plan.rows:  # the common case, with as little as possible around it
            chunk = {plan.input_name: plan.array}
            exchange = self._dialect.predict(self._spec(plan), chunk, plan.signature)
            kept = keep(plan.array)  # now that the images are in the processor's cache
            reply: Reply = yield exchange
            at_once = self._memory.result(plan, reply, kept)
            if at_once is not None:
                return at_once
            parcel, replies = Parcel(plan, [chunk], [plan.array]), [reply]
        else:
            parcel = Parcel(plan, plan.chunks(), [plan.array])
            tick = None if progress is None else _ticker(progress, count)
            replies = yield SideBySide(self.calls(parcel), tick)
        (result,) = yield from self.settle(parcel, replies)
        return result

    def plan_like(self, images: Any) -> Plan | None:
        """How images of the same shape and dtype are sent, where that is known already."""
        return self._memory.plan_like(images)

    def plan(self, batch: Pixels | Encoded, unit: bool | None = None) -> Flow[Plan]:
        """How `batch` is to be sent, by the metadata of the version that would answer now."""
        model = self._memory.current()
        try:
            return self._plan(batch, model or (yield from self.metadata()), unit)
        except (InvalidInput, UnknownSignature):
            if model is None:
                raise
            return self._plan(batch, (yield from self.metadata()), unit)

    def _plan(self, batch: Pixels | Encoded, model: ModelMetadata, unit: bool | None) -> Plan:
        plan = plan_classify(
            batch, model, self.spec.signature, protocol=self.protocol, batch_size=self.batch_size, unit=unit
        )
        if isinstance(batch, Pixels) and plan.array is batch.data and plan.array.dtype == np.uint8 and len(plan.array):
            self._memory.keep_plan(model, plan)
        return plan

    def _spec(self, plan: Plan) -> ModelSpec:
        name = plan.signature_name
        return self.spec if self.spec.signature == name else self.spec._replace(signature=name)

    def calls(self, parcel: Parcel) -> list[Call[Reply]]:
        """The requests of a parcel, in order."""
        return self._calls(self._spec(parcel.plan), parcel, range(len(parcel.chunks)))

    def _calls(self, spec: ModelSpec, parcel: Parcel, numbers: Sequence[int]) -> list[Call[Reply]]:
        rows = parcel.rows()
        ends = list(accumulate(rows, initial=parcel.first))[1:]
        signature, dialect = parcel.plan.signature, self._dialect
        return [
            Call(
                partial(dialect.predict, spec, parcel.chunks[number], signature),
                range(ends[number] - rows[number], ends[number]),
            )
            for number in numbers
        ]

    def settle(self, parcel: Parcel, replies: list[Reply]) -> Flow[list[Classification]]:
        """The results of a parcel's items, from the answers to its calls."""
        plan = parcel.plan
        version = max((reply.version for reply in replies if reply.version is not None), default=None)
        self._memory.saw(version)
        model = yield from self._model_of(version)
        stale = [number for number, reply in enumerate(replies) if reply.version != version]
        if not plan.suits(model):  # a new version, of another signature: it answers whatever does not crash it
            parcel = parcel.again(partial(self._plan, model=model, unit=plan.unit))
            plan, replies, stale = parcel.plan, [], list(range(len(parcel.chunks)))
        if stale:  # a new version came in between: its answers and the old one's must not be mixed
            pinned = self.spec._replace(version=model.version, version_label=None, signature=plan.signature_name)
            again: list[Reply] = yield SideBySide(self._calls(pinned, parcel, stale))
            known = dict(enumerate(replies)) | dict(zip(stale, again, strict=True))
            replies = [known[number] for number in range(len(parcel.chunks))]
        found, names = yield from self._scored(parcel, replies, version, model)
        found.flags.writeable = False  # as that of a single chunk is, which lies in the answer itself
        shown = self.spec.version if version is None else version
        ends = accumulate(len(item) for item in parcel.items)
        return [
            Classification(found[end - len(item) : end], names, model_version=shown, thumbnails=keep(item))
            for end, item in zip(ends, parcel.items, strict=True)
        ]

    def _scored(
        self, parcel: Parcel, replies: list[Reply], version: int | None, model: ModelMetadata
    ) -> Flow[tuple[np.ndarray, tuple[str, ...]]]:
        """Probabilities [N, C] and the C class names."""
        plan = parcel.plan
        if not replies or scores.is_ranked(plan.signature):
            found, known = yield from self._ranked(parcel, replies, model)
            return found, translate(known, self.language)
        found = scores.join(replies, parcel.rows(), plan.output_name, ranked=False)
        key = (version, plan.signature_name)
        logits = self._memory.logits
        if plan.output_name == "logits" or key in logits or scores.are_logits(found):
            logits.add(key)  # a later batch may happen to lie within 0..1
            found = scores.softmax(found)
        names = translate(
            (yield from self._class_names(model, found.shape[1])) or _indices(found.shape[1]), self.language
        )
        if key not in logits and scores.are_shares(found):
            self._memory.keep_names(version, plan, names)
        return found, names

    def _ranked(
        self, parcel: Parcel, replies: list[Reply], model: ModelMetadata
    ) -> Flow[tuple[np.ndarray, tuple[str, ...]]]:
        """The same for answers that name their classes themselves, and for none."""
        plan = parcel.plan
        classes = scores.class_count(model, plan.signature_name)
        names = yield from self._class_names(model, classes)
        if replies:
            found = scores.join(replies, parcel.rows(), plan.output_name, ranked=True)
            return scores.spread(replies, found, names)
        count = len(names or ()) or min(classes or 0, MAX_CLASSES)
        return np.zeros((0, count), np.float32), names or _indices(count)

    def _model_of(self, version: int | None) -> Flow[ModelMetadata]:
        """Metadata of the version that answered."""
        model = self._memory.current() if version is None else self._memory.models.get(version)
        if model is None:  # a version not seen before answered, or the memory of a long REST call has run out
            spec = ModelSpec(self.spec.name, version) if version is not None else self.spec._replace(signature="")
            model = yield self._dialect.metadata(spec)
            self._memory.learn(model, newest=False)
        return model


def _fit(
    inputs: Mapping[str, Any], model: ModelMetadata, signature_name: str
) -> tuple[Signature, dict[str, np.ndarray]]:
    signature = find_signature(model, signature_name)
    return signature, fit_inputs(inputs, signature, signature_name or "serving_default")


def _ticker(progress: Progress, total: int) -> Callable[[int], None]:
    done = 0

    def tick(images: int) -> None:
        nonlocal done
        done += images
        progress(done, total)

    return tick


def _indices(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))
