"""What a version's scores mean: from its first replies to probabilities with class names.

The result is stored in `model_cache`, so later replies only need `scores`.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from ..config.options import Options
from ..contract import LABELS
from ..errors import BadResponse, InvalidInput, UnknownSignature
from ..fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH, translate
from ..images.header import read_header
from ..model import ModelMetadata, ModelSpec, Reply
from . import scores
from .calls import Call, Calls, Flow, codec_of
from .chunking import RequestGroup
from .model_cache import Meaning, ModelCache

FASHION_NAMES = (CLASS_NAMES, CLASS_NAMES_ZH)
_SMALL = 56  # pixels: a larger image was not made for a model of 28 x 28

MAX_CLASSES = 1_000_000
"""The most names that a client asks for: the server reports their number, and it may be wrong."""


class ClassScores:
    """What the scores of one client's model mean, by the client's options and the model's signatures."""

    def __init__(self, options: Options, cache: ModelCache) -> None:
        self._options = options
        self._cache = cache
        self._warned: set[str] = set()
        self.binary = options.names is not None and len(options.names) == 2
        """Whether one score per image is enough, because the caller names two classes."""

    def read(self, group: RequestGroup, replies: list[Reply], model: ModelMetadata) -> Flow[tuple[np.ndarray, Meaning]]:
        """Probabilities [N, C] and their meaning."""
        plan, declared, language = group.plan, self._options.scores, self._options.language
        if not replies or scores.is_ranked(plan.signature, self._options.output):
            probabilities, names = yield from self._ranked(group, replies, model)
            return probabilities, Meaning.of(translate(names, language), len(names))
        outputs = scores.join(replies, group.chunks, plan.output_name, binary=self.binary)
        columns, kind = outputs.shape[1], scores.kind_of(plan.output_name, declared)
        probabilities = scores.to_probabilities(outputs, kind, plan.output_name)
        names = (yield from self._names(model, probabilities.shape[1])) or _indices(probabilities.shape[1])
        if kind in (None, "probabilities") and not scores.sum_to_one(probabilities):
            self._warn(
                "scores",
                f"the scores of {model.name} ({plan.output_name}) do not sum to 1 and are used as they are: say what "
                "they are by scores='logits', 'sigmoid' or 'probabilities' (--scores)",
            )
        meaning = Meaning.of(translate(names, language), columns, kind)
        self._cache.settled[plan.version, plan.signature_name] = meaning
        return probabilities, meaning

    def _ranked(
        self, group: RequestGroup, replies: list[Reply], model: ModelMetadata
    ) -> Flow[tuple[np.ndarray, tuple[str, ...]]]:
        """The same for replies that name their own classes, and for calls without images."""
        plan = group.plan
        classes = scores.class_count(model, plan.signature_name, self._options.output)
        names = yield from self._names(model, classes)
        if replies:
            ranked = scores.join(replies, group.chunks, plan.output_name, ranked=True)
            return scores.spread(replies, ranked, names)
        count = len(names or ()) or min(classes or 0, MAX_CLASSES)
        return np.zeros((0, count), np.float32), names or _indices(count)

    def check_photographs(self, group: RequestGroup, model_name: str) -> None:
        """Warn once if the caller sends photographs to a model of Fashion-MNIST, whose images look different."""
        if "photo" in self._warned:
            return
        headers = (read_header(item[0]) for item in group.items if len(item))
        if any(header is not None and min(header.width, header.height) > _SMALL for header in headers):
            self._warn(
                "photo",
                f"{model_name} was trained on Fashion-MNIST's grey images of 28 x 28 pixels, bright on black: "
                "prepare='photo' (--prepare photo) makes photographs look like them",
            )

    def _warn(self, topic: str, message: str) -> None:
        """Warn once per client and topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)

    # ---- class names

    def class_names(self, model: ModelMetadata, signature_name: str) -> Flow[tuple[str, ...]]:
        """The class names of the version, in label order."""
        classes = scores.class_count(model, signature_name, self._options.output)
        names = yield from self._names(model, classes)
        if names is None:
            raise UnknownSignature(
                f"{model.name} version {model.version} does not give its class names; pass labels=[…] to the client"
            )
        return translate(names, self._options.language)

    def _names(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        """The caller's names, or the model's; None if there are none."""
        names = self._options.names
        if self.binary and classes == 1:
            classes = 2  # the one score stands for both classes
        if names is None:
            known = self._cache.names
            if model.version not in known:
                known[model.version] = yield from self._ask(model, classes)
            names = known[model.version]
        if names is not None and classes is not None and len(names) != classes:
            raise InvalidInput(f"{len(names)} class names for the {classes} classes of {model.name}")
        return names

    def _ask(self, model: ModelMetadata, classes: int | None) -> Flow[tuple[str, ...] | None]:
        """Ask the model's `labels` signature for the names; None if it has no such signature."""
        signature = model.signatures.get(LABELS)
        if (
            signature is None
            or set(signature.inputs) != {"index"}
            or "class_name" not in signature.outputs
            or not classes
            or classes > MAX_CLASSES
        ):
            return None
        spec = ModelSpec(self._options.model, model.version, None, LABELS)
        inputs = {"index": np.arange(classes, dtype=np.int64)}
        codec = codec_of(self._options.server.protocol)
        (reply,) = yield Calls([Call(partial(codec.predict, spec, inputs, signature))])
        names = reply.outputs.get("class_name")
        if names is None or names.shape != (classes,) or names.dtype != object:
            raise BadResponse(f"the labels signature of {model.name} does not return {classes} names")
        return tuple(name.decode("utf-8", "replace") for name in names.tolist())


def _indices(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))
