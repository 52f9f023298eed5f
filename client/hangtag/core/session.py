"""One model on one server: what is asked, in which order, and what the answers mean. All of a client but the I/O.

The methods are generators. They yield `Calls`, are sent the replies, and return the result; a runner (`transports/`)
sends the calls, with threads or with asyncio. So both clients share every decision.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..config import Options
from ..contract import LABELS, SERVING_DEFAULT
from ..errors import BadResponse, InvalidInput, ModelNotFound, UnknownSignature
from ..fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH, translate
from ..model import ModelMetadata, ModelSpec, Reply, Signature, VersionStatus
from ..results import SHOWN, Classification
from . import chunking, scores
from .calls import Call, Calls, Codec, Flow, Progress
from .chunking import RequestGroup
from .image_header import read_header
from .image_input import Encoded, Pixels, read
from .model_cache import Meaning, ModelCache
from .predict_inputs import fit_inputs
from .validation import MixedShapes, Plan, find_signature, plan_classify

_FASHION = (CLASS_NAMES, CLASS_NAMES_ZH)
_SMALL = 56  # pixels: a larger image is no picture of 28 x 28 any more

MAX_CLASSES = 1_000_000
"""More names than this are not asked for: the server tells their number, and may be wrong."""

MAX_SWAPS = 5
"""How often one call starts again because the version that it was for is gone."""


class Session:
    """The calls of one client, and what it remembers of its model."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._protocol = options.server.protocol
        self.spec = options.servable
        self._cache = ModelCache(self._protocol)
        self._binary = options.names is not None and len(options.names) == 2
        self._warned: set[str] = set()

    @cached_property
    def _codec(self) -> Codec:
        # Imported when the first request is encoded: a client needs one of the two.
        if self._protocol == "grpc":
            from ..protocol import grpc_codec

            return grpc_codec
        from ..protocol import rest_codec

        return rest_codec

    def ready(self) -> Flow[ModelMetadata]:
        """Metadata of the version that answers; where labels have weights, all of them must have a version."""
        for label in self.options.weights:
            yield from self.metadata(self.spec._replace(version_label=label))
        return (yield from self.metadata())

    # ---- classify, from top to bottom

    def classify(
        self,
        images: Any,
        prepare: str | None = None,
        progress: Progress | None = None,
        key: str | None = None,
        spec: ModelSpec | None = None,
    ) -> Flow[Classification]:
        """Class names for any number of images, all answered by one version of the model, that of `spec` if given."""
        if spec is None:
            spec = self.options.choose(key) if self.options.weights or key is not None else self.spec
        batch = read(images, prepare)
        try:
            plan = self._cache.plan_for(batch, spec) or (yield from self.plan(batch, spec))
        except MixedShapes as mixed:
            return (yield from self._classify_by_shape(mixed.unlike, spec, progress))
        in_one = 0 < len(plan.array) <= plan.rows
        chunks = [plan.array] if in_one else chunking.split(plan.array, plan.rows)
        group = RequestGroup(spec, plan, chunks, [plan.array])
        ticker = None if progress is None else _Ticker(progress, len(plan.array)).add
        try:
            replies: list[Reply] = yield Calls(self.calls(group), ticker)
        except ModelNotFound as error:
            group, replies = yield from self.ask_again(group, error)
        (result,) = yield from self.results(group, replies)
        return result

    def _classify_by_shape(
        self, images: list[np.ndarray], spec: ModelSpec, progress: Progress | None
    ) -> Flow[Classification]:
        """Images of several sizes, for a model that takes them all: those of one size share requests."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            places.setdefault(image.shape, []).append(place)
        parts: list[Classification] = []
        for chosen in places.values():
            part: Classification = yield from self.classify(np.stack([images[i] for i in chosen]), spec=spec)
            spec = ModelSpec(spec.name, part.model_version, None, spec.signature)  # all are answered by one version
            parts.append(part)
            if progress is not None:
                progress(sum(map(len, parts)), len(images))
        probabilities = np.empty((len(images), parts[0].probabilities.shape[1]), np.float32)
        probabilities[[place for chosen in places.values() for place in chosen]] = np.concatenate(
            [part.probabilities for part in parts]
        )
        probabilities.flags.writeable = False
        return Classification(
            probabilities,
            parts[0].class_names,
            model_version=parts[0].model_version,
            thumbnails=images[:SHOWN],
            independent=parts[0].independent,
        )

    def plan(self, batch: Pixels | Encoded, spec: ModelSpec, unit: bool | None = None) -> Flow[Plan]:
        """How `batch` is to be sent, by the metadata of the version that would answer now."""
        known = self._cache.plan_for(batch, spec)
        if known is not None:
            return known
        model = self._cache.current(spec)
        try:
            return self._plan(batch, model or (yield from self.metadata(spec)), spec, unit)
        except (InvalidInput, UnknownSignature):
            if model is None:
                raise
            return self._plan(batch, (yield from self.metadata(spec)), spec, unit)  # a newer version may take it

    def _plan(self, batch: Pixels | Encoded, model: ModelMetadata, spec: ModelSpec, unit: bool | None) -> Plan:
        options = self.options
        plan = plan_classify(
            batch,
            model,
            self.spec.signature,
            unit,
            pixels=options.pixels,
            output=options.output,
            binary=self._binary,
        )
        plan = chunking.with_rows(plan, model, self._protocol, self.options.batch_size)
        self._cache.add_plan(batch, spec, plan)
        return plan

    def calls(self, group: RequestGroup, only: Sequence[int] | None = None) -> list[Call[Reply]]:
        """The calls of a group, in order; or those with the numbers `only`.

        Over REST they go to the very version that they were planned for, as no response tells its version.
        """
        plan, codec, calls, first = group.plan, self._codec, [], group.first
        spec = group.spec
        if self._protocol == "rest":
            spec = ModelSpec(spec.name, plan.version, None, plan.signature_name)
        elif spec.signature != plan.signature_name:
            spec = spec._replace(signature=plan.signature_name)
        for number, chunk in enumerate(group.chunks):
            end = first + len(chunk)
            if only is None or number in only:
                encode = partial(codec.predict, spec, {plan.input_name: chunk}, plan.signature, self.options.output)
                calls.append(Call(encode, range(first, end)))
            first = end
        return calls

    def results(self, group: RequestGroup, replies: list[Reply]) -> Flow[list[Classification]]:
        """The results of a group's items, from the replies to its calls."""
        for reply in replies:
            if reply.version not in (None, group.plan.version):
                group, replies = yield from self._of_one_version(group, replies)
                break
        plan, rows = group.plan, list(map(len, group.chunks))
        known = self._cache.settled.get((plan.version, plan.signature_name))
        if known is None or not replies:
            found, known = yield from self._scored(group, replies)
        else:
            found = scores.join(replies, rows, plan.output_name, known.columns, binary=self._binary)
            if known.converted:
                found = scores.to_probabilities(found, known.kind, plan.output_name)
        found.flags.writeable = False  # as an array is that lies in a response
        if plan.array.dtype == object and known.names in _FASHION:
            self._check_photographs(group)
        results, end = [], 0
        for item in group.items:
            start, end = end, end + len(item)
            shown = item[:SHOWN].copy()  # a view would hold the caller's whole array in memory
            results.append(
                Classification(
                    found[start:end],
                    known.names,
                    model_version=plan.version,
                    thumbnails=shown,
                    independent=known.independent,
                )
            )
        return results

    def _check_photographs(self, group: RequestGroup) -> None:
        """Warn of photographs for a model of Fashion-MNIST's small grey images, which are bright on black."""
        if "photo" in self._warned:
            return
        headers = (read_header(item[0]) for item in group.items if len(item))
        if any(header is not None and min(header.width, header.height) > _SMALL for header in headers):
            self._warn(
                "photo",
                f"{self.spec.name} was trained on Fashion-MNIST's grey images of 28 x 28 pixels, bright on black: "
                "prepare='photo' (--prepare photo) makes photographs look like them",
            )

    def _warn(self, topic: str, message: str) -> None:
        """Once for each client and topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)

    # ---- one version for each call

    def _of_one_version(self, group: RequestGroup, replies: list[Reply]) -> Flow[tuple[RequestGroup, list[Reply]]]:
        """A version that the group was not planned for has answered: the newest one is to answer all of it."""
        version = max(reply.version for reply in replies if reply.version is not None)
        self._cache.answered(group.spec, version)
        model = yield from self._model_of(version, group.spec)
        stale = [number for number, reply in enumerate(replies) if reply.version != version]
        if group.plan.suits(model):
            group = group._replace(plan=group.plan._replace(version=version))
        else:  # it takes something else, but answers whatever does not crash it
            group, replies = group.again(partial(self._plan, model=model, spec=group.spec, unit=group.plan.unit)), []
            stale = list(range(len(group.chunks)))
        if not stale:
            return group, replies
        pinned = group._replace(spec=ModelSpec(self.spec.name, version))
        try:
            again: list[Reply] = yield Calls(self.calls(pinned, stale))
        except ModelNotFound as error:
            return (yield from self.ask_again(group, error))
        known = dict(enumerate(replies)) | dict(zip(stale, again, strict=True))
        return group, [known[number] for number in range(len(group.chunks))]

    def ask_again(self, group: RequestGroup, error: ModelNotFound) -> Flow[tuple[RequestGroup, list[Reply]]]:
        """The version that the group was planned for is gone: plan it for the one that serves now, and ask that one."""
        for _ in range(MAX_SWAPS):
            if group.spec.version is not None:  # the caller's choice
                break
            self._cache.forget(group.spec)
            model = yield from self.metadata(group.spec)
            group = group.again(partial(self._plan, model=model, spec=group.spec, unit=group.plan.unit))
            try:
                return group, (yield Calls(self.calls(group)))
            except ModelNotFound as gone:
                error = gone
        raise error

    def _model_of(self, version: int, spec: ModelSpec) -> Flow[ModelMetadata]:
        model: ModelMetadata | None = self._cache.models.get(version)
        if model is None:
            asked = ModelSpec(spec.name, version)
            models: list[ModelMetadata] = yield Calls([Call(partial(self._codec.metadata, asked))])
            model = models[0]
            self._cache.learn(model)
        return model

    # ---- scores and class names

    def _scored(self, group: RequestGroup, replies: list[Reply]) -> Flow[tuple[np.ndarray, Meaning]]:
        """Probabilities [N, C], and what they mean."""
        plan, declared = group.plan, self.options.scores
        model = yield from self._model_of(plan.version, group.spec)
        if not replies or scores.is_ranked(plan.signature, self.options.output):
            found, names = yield from self._ranked(group, replies, model)
            return found, Meaning.of(translate(names, self.options.language), len(names))
        found = scores.join(replies, group.rows(), plan.output_name, binary=self._binary)
        columns, kind = found.shape[1], scores.kind_of(plan.output_name, declared)
        found = scores.to_probabilities(found, kind, plan.output_name)
        names = (yield from self._class_names(model, found.shape[1])) or _indices(found.shape[1])
        if kind is None and not scores.sum_to_one(found):
            self._warn(
                "scores",
                f"the scores of {model.name} ({plan.output_name}) do not sum to 1 and are used as they are: say what "
                "they are by scores='logits', 'sigmoid' or 'probabilities' (--scores)",
            )
        meaning = Meaning.of(translate(names, self.options.language), columns, kind)
        self._cache.settled[plan.version, plan.signature_name] = meaning
        return found, meaning

    def _ranked(
        self, group: RequestGroup, replies: list[Reply], model: ModelMetadata
    ) -> Flow[tuple[np.ndarray, tuple[str, ...]]]:
        """The same for replies that name their classes themselves, and for no reply at all."""
        plan = group.plan
        classes = scores.class_count(model, plan.signature_name, self.options.output)
        names = yield from self._class_names(model, classes)
        if replies:
            found = scores.join(replies, group.rows(), plan.output_name, ranked=True)
            return scores.spread(replies, found, names)
        count = len(names or ()) or min(classes or 0, MAX_CLASSES)
        return np.zeros((0, count), np.float32), names or _indices(count)

    def _class_names(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        """The caller's names, or the model's; None if there are none."""
        names = self.options.names
        if self._binary and classes == 1:
            classes = 2  # one score that stands for both
        if names is None:
            known = self._cache.names
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
        inputs = {"index": np.arange(classes, dtype=np.int64)}
        (reply,) = yield Calls([Call(partial(self._codec.predict, spec, inputs, signature))])
        found = reply.outputs.get("class_name")
        if found is None or found.shape != (classes,) or found.dtype != object:
            raise BadResponse(f"the labels signature of {model.name} does not answer with {classes} names")
        return tuple(name.decode("utf-8", "replace") for name in found.tolist())

    # ---- the other calls

    def status(self) -> Flow[tuple[VersionStatus, ...]]:
        """The states of the model's versions, newest first."""
        spec = self.spec._replace(version_label=None) if self.options.weights else self.spec
        (statuses,) = yield Calls([Call(partial(self._codec.status, spec))])
        return tuple(sorted(statuses, key=lambda status: -status.version))

    def metadata(self, spec: ModelSpec | None = None) -> Flow[ModelMetadata]:
        """The signatures of the version that answers requests for `spec` now."""
        spec = spec or self.spec
        models: list[ModelMetadata] = yield Calls([Call(partial(self._codec.metadata, spec._replace(signature="")))])
        self._cache.learn(models[0], spec)
        return models[0]

    def class_names(self) -> Flow[tuple[str, ...]]:
        """The class names, in label order."""
        model = yield from self.metadata()
        classes = scores.class_count(model, self.spec.signature, self.options.output)
        names = yield from self._class_names(model, classes)
        if names is None:
            raise UnknownSignature(
                f"{model.name} version {model.version} does not tell its class names; pass labels=[…] to the client"
            )
        return translate(names, self.options.language)

    def predict(self, inputs: Mapping[str, Any], signature: str | None, key: str | None) -> Flow[dict[str, np.ndarray]]:
        """One request, as it is."""
        spec = self.options.choose(key)
        if signature is not None:
            spec = spec._replace(signature=signature)
        model = self._cache.current(spec)
        fresh = model is None
        swaps = 0
        while True:
            if model is None:
                model = yield from self.metadata(spec)
            try:
                called, arrays = _fit(inputs, model, spec.signature)
                asked = spec._replace(version=model.version, version_label=None) if self._protocol == "rest" else spec
                (reply,) = yield Calls([Call(partial(self._codec.predict, asked, arrays, called))])
                break
            except (InvalidInput, UnknownSignature) as error:
                if fresh or error.code == "INVALID_ARGUMENT":  # what a known version refuses, a newer one may take
                    raise
            except ModelNotFound:
                swaps += 1
                if spec.version is not None or swaps > MAX_SWAPS:
                    raise
            model, fresh = None, True
        if reply.version not in (None, model.version):  # a newer version, which may take something else
            self._cache.answered(spec, reply.version)
            _fit(inputs, (yield from self._model_of(reply.version, spec)), spec.signature)
        outputs: dict[str, np.ndarray] = reply.outputs
        return outputs


def _fit(
    inputs: Mapping[str, Any], model: ModelMetadata, signature_name: str
) -> tuple[Signature, dict[str, np.ndarray]]:
    signature = find_signature(model, signature_name)
    return signature, fit_inputs(inputs, signature, signature_name or SERVING_DEFAULT)


class _Ticker:
    """Adds up the images that are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def add(self, images: int) -> None:
        self._done += images
        self._progress(self._done, self._total)


def _indices(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))
