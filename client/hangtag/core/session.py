"""Everything that a client does except I/O: which calls it makes, in which order, and what the replies mean.

The methods are generators. They yield `Calls`, receive the replies and return the result. A runner (`transports/`)
sends the calls with threads or with asyncio, so both clients share this code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..config.options import Options
from ..contract import SERVING_DEFAULT
from ..errors import InvalidInput, ModelNotFound, UnknownSignature
from ..images.input import Encoded, Pixels, read
from ..model import ModelMetadata, ModelSpec, Reply, Signature, VersionStatus
from ..photo import prepared
from ..results import SHOWN, Classification
from . import chunking, scores
from .calls import Call, Calls, Codec, Flow, ImageCount, Progress, codec_of
from .chunking import RequestGroup
from .class_scores import FASHION_NAMES, ClassScores
from .model_cache import ModelCache
from .predict_inputs import fit_inputs
from .validation import MixedShapes, Plan, find_signature, plan_classify

_MAX_RESTARTS = 5
"""How often one call starts again because the server unloaded the version that it was planned for."""


class Session:
    """The calls of one client, and its cache of the model's versions."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._protocol = options.server.protocol
        self.spec = options.servable
        self._cache = ModelCache(self._protocol)
        self._class_scores = ClassScores(options, self._cache)

    @cached_property
    def _codec(self) -> Codec:
        return codec_of(self._protocol)

    def ready(self) -> Flow[ModelMetadata]:
        """Metadata of the version that answers. If labels have weights, each of them must have a version."""
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
        """Class names for any number of images. One version answers all of them; `spec` may say which."""
        if spec is None:
            spec = self.options.choose(key) if self.options.weights or key is not None else self.spec
        plan = self._cache.plan_for(images, spec) if prepare is None else None
        try:
            plan = plan or (yield from self.plan(read(prepared(images, prepare)), spec))
        except MixedShapes as mixed:
            return (yield from self._classify_by_shape(mixed.unlike, spec, progress))
        in_one = 0 < len(plan.array) <= plan.rows
        chunks = [plan.array] if in_one else chunking.split(plan.array, plan.rows)
        group = RequestGroup(spec, plan, chunks, [plan.array])
        ticker = None if progress is None else ImageCount(progress, len(plan.array)).add
        try:
            replies: list[Reply] = yield Calls(self.calls(group), ticker)
        except ModelNotFound as error:
            group, replies = yield from self.ask_again(group, error)
        (result,) = yield from self.results(group, replies)
        return result

    def _classify_by_shape(
        self, images: list[np.ndarray], spec: ModelSpec, progress: Progress | None
    ) -> Flow[Classification]:
        """Images of several sizes, for a model that takes any size: images of the same size share requests."""
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
        """The plan for sending `batch`, by the metadata of the version that would answer now."""
        known = self._cache.plan_for(batch[0], spec)
        if known is not None:
            return known
        model = self._cache.current(spec)
        try:
            return self._plan(batch, model or (yield from self.metadata(spec)), spec, unit)
        except (InvalidInput, UnknownSignature):
            if model is None:
                raise
            # The cached version refuses the batch; a newer one may accept it.
            return self._plan(batch, (yield from self.metadata(spec)), spec, unit)

    def _plan(self, batch: Pixels | Encoded, model: ModelMetadata, spec: ModelSpec, unit: bool | None) -> Plan:
        options = self.options
        plan = plan_classify(
            batch,
            model,
            self.spec.signature,
            unit,
            pixels=options.pixels,
            output=options.output,
            binary=self._class_scores.binary,
        )
        plan = chunking.with_rows(plan, model, self._protocol, self.options.batch_size)
        self._cache.add_plan(batch, spec, plan)
        return plan

    def calls(self, group: RequestGroup, only: Sequence[int] | None = None) -> list[Call[Reply]]:
        """The calls of a group in order, or only the calls with the numbers `only`.

        Over REST they name the version that they were planned for, because a REST response does not tell its version.
        """
        spec, plan, chunks, _, first = group
        codec, calls = self._codec, []
        if self._protocol == "rest":
            spec = ModelSpec(spec.name, plan.version, None, plan.signature_name)
        elif spec.signature != plan.signature_name:
            spec = spec._replace(signature=plan.signature_name)
        for number, chunk in enumerate(chunks):
            end = first + len(chunk)
            if only is None or number in only:
                encode = partial(codec.predict, spec, {plan.input_name: chunk}, plan.signature, self.options.output)
                calls.append(Call(encode, range(first, end)))
            first = end
        return calls

    def results(self, group: RequestGroup, replies: list[Reply]) -> Flow[list[Classification]]:
        """The results of a group's items, from the replies to its calls."""
        for reply in replies:
            if reply.version != group.plan.version and reply.version is not None:
                group, replies = yield from self._of_one_version(group, replies)
                break
        plan = group.plan
        known = self._cache.settled.get((plan.version, plan.signature_name))
        if known is None or not replies:
            try:
                model = yield from self._model_of(plan.version, group.spec)
                probabilities, known = yield from self._class_scores.read(group, replies, model)
            except ModelNotFound as error:  # the version was unloaded between its reply and the call for class names
                group, replies = yield from self.ask_again(group, error)
                return (yield from self.results(group, replies))
        else:
            binary = self._class_scores.binary
            probabilities = scores.join(replies, group.chunks, plan.output_name, known.columns, binary=binary)
            if known.converted:
                probabilities = scores.to_probabilities(probabilities, known.kind, plan.output_name)
        if probabilities.flags.writeable:
            probabilities.setflags(write=False)  # a view of a response is read-only, so a copy is too
        if plan.array.dtype.kind == "O" and known.names in FASHION_NAMES:
            self._class_scores.check_photographs(group, self.spec.name)
        results, end = [], 0
        for item in group.items:
            start, end = end, end + len(item)
            results.append(
                Classification(
                    probabilities if len(group.items) == 1 else probabilities[start:end],
                    known.names,
                    model_version=plan.version,
                    thumbnails=item[:SHOWN].copy(),  # a view would hold the caller's whole array in memory
                    independent=known.independent,
                )
            )
        return results

    # ---- one version for each call

    def _of_one_version(self, group: RequestGroup, replies: list[Reply]) -> Flow[tuple[RequestGroup, list[Reply]]]:
        """Let the newest version answer the whole group, after a version that it was not planned for has answered."""
        version = max(reply.version for reply in replies if reply.version is not None)
        self._cache.answered(group.spec, version)
        try:
            model = yield from self._model_of(version, group.spec)
        except ModelNotFound as error:  # the version was unloaded between its reply and the call for metadata
            return (yield from self._of_one_version(*(yield from self.ask_again(group, error))))
        stale = [number for number, reply in enumerate(replies) if reply.version != version]
        if group.plan.suits(model):
            group = group._replace(plan=group.plan._replace(version=version))
        else:  # its inputs differ, so its replies mean nothing: a server computes whatever does not crash the graph
            group, replies = group.again(partial(self._plan, model=model, spec=group.spec, unit=group.plan.unit)), []
            stale = list(range(len(group.chunks)))
        if not stale:
            return group, replies
        pinned = group._replace(spec=ModelSpec(self.spec.name, version))
        try:
            again: list[Reply] = yield Calls(self.calls(pinned, stale))
        except ModelNotFound as error:
            return (yield from self._of_one_version(*(yield from self.ask_again(group, error))))
        known = dict(enumerate(replies)) | dict(zip(stale, again, strict=True))
        return group, [known[number] for number in range(len(group.chunks))]

    def ask_again(self, group: RequestGroup, error: ModelNotFound) -> Flow[tuple[RequestGroup, list[Reply]]]:
        """Plan the group again for the version that serves now, and send it: the version it was planned for is gone."""
        for _ in range(_MAX_RESTARTS):
            if group.spec.version is not None:  # the caller chose this version: no other one may answer
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
            (model,) = yield Calls([Call(partial(self._codec.metadata, ModelSpec(spec.name, version)))])
            self._cache.learn(model)
        return model

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
        return (yield from self._class_scores.class_names((yield from self.metadata()), self.spec.signature))

    def predict(self, inputs: Mapping[str, Any], signature: str | None, key: str | None) -> Flow[dict[str, np.ndarray]]:
        """One Predict request. It is checked again, and repeated if need be, when the version changes meanwhile."""
        spec = self.options.choose(key)
        if signature is not None:
            spec = spec._replace(signature=signature)
        model = self._cache.current(spec)
        for restart in range(_MAX_RESTARTS + 1):
            fresh = model is None
            if model is None:
                model = yield from self.metadata(spec)
            try:
                called, arrays = _fit(inputs, model, spec.signature)
                asked = spec._replace(version=model.version, version_label=None) if self._protocol == "rest" else spec
                (reply,) = yield Calls([Call(partial(self._codec.predict, asked, arrays, called))])
                answered = model
                if reply.version not in (None, model.version):  # a newer version, which may take something else
                    self._cache.answered(spec, reply.version)
                    answered = yield from self._model_of(reply.version, spec)
                break
            except (InvalidInput, UnknownSignature) as error:
                if fresh or error.code == "INVALID_ARGUMENT":
                    raise  # else the metadata may be outdated: fetch it and try again
            except ModelNotFound:
                if spec.version is not None or restart == _MAX_RESTARTS:
                    raise
            model = None
        if answered is not model:
            _fit(inputs, answered, spec.signature)
        return dict[str, np.ndarray](reply.outputs)


def _fit(
    inputs: Mapping[str, Any], model: ModelMetadata, signature_name: str
) -> tuple[Signature, dict[str, np.ndarray]]:
    signature = find_signature(model, signature_name)
    return signature, fit_inputs(inputs, signature, signature_name or SERVING_DEFAULT)
