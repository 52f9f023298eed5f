"""From the replies to chunks of images to probabilities, float32 [N, C], whatever the model calls its output.

The model or the caller says what the scores are; the numbers of a batch are never used to guess it. A model of
Hangtag's own names its output `probabilities` (or `independent_probabilities`, of a multi-label model). Others give one
unnamed output, `logits`, or `classes` and `scores`, the columns of TensorFlow Serving's Classify API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np

from ..contract import INDEPENDENT_PROBABILITIES, LOGITS, PROBABILITIES, SERVING_DEFAULT
from ..errors import BadResponse, InvalidInput
from ..model import ModelMetadata, Reply, Signature

RANKED = ("classes", "scores")

_FLOAT32 = np.dtype(np.float32)

_FLOATS = ("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16")
_TOLERANCE = 1e-2  # of the sum of probabilities in float16
_SHOWN = 10  # images that an error lists


def score_output(signature: Signature, name: str, chosen: str | None = None, *, binary: bool = False) -> str:
    """Which output holds one score a class; raises InvalidInput if that cannot be known.

    `chosen` is the caller's choice. `binary`: a single score an image will do, because the caller names two classes.
    """
    output = _score_output(signature, name, chosen)
    spec = signature.outputs[output]
    if spec.dtype not in _FLOATS:
        raise InvalidInput(f"{output} is {spec}, which is not one score a class: use predict()")
    shape = spec.shape
    if shape and (len(shape) == 1 or shape[-1] == 1) and not (binary or is_ranked(signature, chosen)):
        raise _single(output)
    return output


def _score_output(signature: Signature, name: str, chosen: str | None) -> str:
    outputs = signature.outputs
    if chosen is not None:
        if chosen not in outputs:
            raise InvalidInput(f"signature {name!r} has no output {chosen!r}; it gives {', '.join(outputs)}")
        return chosen
    for known in (PROBABILITIES, INDEPENDENT_PROBABILITIES, LOGITS, "scores"):
        if known in outputs:
            return known
    if len(outputs) != 1:
        raise InvalidInput(
            f"signature {name!r} gives {', '.join(outputs) or 'nothing'}, not one score a class: choose one by "
            "output='NAME' (--model-output NAME), or use predict()"
        )
    return next(iter(outputs))


def _single(output: str) -> InvalidInput:
    """For a binary model, a sigmoid or a logit: only the caller knows which class it stands for."""
    return InvalidInput(
        f"{output} gives one number an image, not one score a class: name both classes by "
        "labels=[negative, positive] (--labels FILE), or use predict()"
    )


def is_ranked(signature: Signature, chosen: str | None = None) -> bool:
    """Whether the answer names its classes itself, row by row."""
    return chosen is None and PROBABILITIES not in signature.outputs and signature.outputs.keys() >= set(RANKED)


def class_count(model: ModelMetadata, signature_name: str, chosen: str | None = None) -> int | None:
    """How many classes there are, as far as the signature (or the default one, for a top-k signature) says."""
    for name in (signature_name or SERVING_DEFAULT, SERVING_DEFAULT):
        signature = model.signatures.get(name)
        if signature is not None and not is_ranked(signature, chosen):
            try:
                shape = signature.outputs[_score_output(signature, name, chosen)].shape
            except InvalidInput:  # several outputs
                return None
            return shape[-1] if shape else None
    return None


def kind_of(output: str, declared: str | None) -> str | None:
    """One of the contract's SCORES; None where neither the caller nor the output's name says it."""
    known = {LOGITS: "logits", INDEPENDENT_PROBABILITIES: "sigmoid"}
    return declared or known.get(output)


def join(
    replies: Sequence[Reply],
    chunks: Sequence[Sized],
    output: str,
    classes: int | None = None,
    *,
    ranked: bool = False,
    binary: bool = False,
) -> np.ndarray:
    """The float output of all chunks of images, float32 [N, C]; `classes` is C if known.

    One score an image is enough where it is `ranked`, beside the name of its class, or `binary`.
    """
    found = replies[0].outputs.get(output)
    if len(replies) > 1 or found is None or found.shape != (len(chunks[0]), classes) or found.dtype != _FLOAT32:
        parts = [_part(reply, len(chunk), output, ranked, binary) for reply, chunk in zip(replies, chunks, strict=True)]
        if len({classes or parts[0].shape[1], *(part.shape[1] for part in parts)}) > 1:
            raise BadResponse(f"{output} came with differing numbers of classes")
        found = (parts[0] if len(parts) == 1 else np.concatenate(parts)).astype(np.float32, copy=False)
    # argmax takes a NaN for the greatest number
    if found.size and not (found.item(found.argmax()) < np.inf and found.item(found.argmin()) > -np.inf):
        _check_numbers(output, found)
    return found


def _part(reply: Reply, count: int, output: str, ranked: bool, binary: bool) -> np.ndarray:
    """The floats [count, C] of one chunk."""
    part = reply.outputs.get(output)
    if part is not None and part.ndim == 1 and binary:
        part = part[:, np.newaxis]
    if part is None or part.ndim != 2 or len(part) != count or part.shape[1] == 0 or part.dtype.kind != "f":
        shape = "nothing" if part is None else f"{part.dtype} {list(part.shape)}"
        raise BadResponse(f"{output} for {count} images came as {shape}; expected floats [{count}, classes]")
    if part.shape[1] == 1 and not (ranked or binary):
        raise _single(output)
    return part


def _check_numbers(output: str, found: np.ndarray) -> None:
    """Raise for images with a NaN or whose best score is infinite; a class may be ruled out by minus infinity."""
    bad = np.flatnonzero(~np.isfinite(found.max(axis=1))).tolist()
    if bad:
        error = BadResponse(f"{output} is not a finite number for {_images(bad)}")
        error.images = range(bad[0], bad[0] + 1) if len(bad) == 1 else None
        raise error


def _images(places: Sequence[int]) -> str:
    if len(places) == 1:
        return "an image"
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return f"images {', '.join(map(str, places[:_SHOWN]))}{more}"


def to_probabilities(scores: np.ndarray, kind: str | None, output: str) -> np.ndarray:
    """Scores [N, C] as probabilities; [N, 1] as those of two classes. Raises InvalidInput if `kind` cannot be right.

    >>> to_probabilities(np.array([[0.25]], "f4"), None, "output_0").tolist()
    [[0.75, 0.25]]
    """
    if scores.shape[1] == 1 and kind == "logits":
        scores = softmax(np.concatenate([np.zeros_like(scores), scores], axis=1))
    elif kind == "logits":
        scores = softmax(scores)
    elif kind == "sigmoid" or scores.shape[1] == 1:
        if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
            raise InvalidInput(
                f"{output} runs from {scores.min():g} to {scores.max():g}, which no sigmoid gives: "
                "for logits say scores='logits' (--scores logits)"
            )
        if scores.shape[1] == 1:
            scores = np.concatenate([1 - scores, scores], axis=1)
    return scores


def sum_to_one(scores: np.ndarray) -> bool:
    """Whether every row sums to 1, as the probabilities of classes that exclude each other do."""
    return bool((abs(scores.sum(axis=1) - 1) < _TOLERANCE).all())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row by row.

    >>> softmax(np.array([[1000.0, 1000.0]], "f4")).tolist()
    [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def spread(
    replies: Sequence[Reply], scores: np.ndarray, names: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores in the order of rank, [N, k], as scores in the order of `names`, [N, C]; classes left out count as 0.

    Without `names` the classes are those that the answers name, in the order of their appearance. Of classes with one
    name, which such answers do not tell apart, the first stands for all.
    """
    columns: dict[str, int] = {}
    for column, name in enumerate(names or ()):
        columns.setdefault(name, column)
    places = []
    for reply in replies:
        classes = reply.outputs.get(RANKED[0])
        if classes is None or classes.dtype != object:
            raise BadResponse(f"{RANKED[0]} did not come as strings")
        answered = [name.decode("utf-8", "replace") for name in classes.ravel().tolist()]
        if names is None:
            for name in answered:
                columns.setdefault(name, len(columns))
        places += [_column(columns, name) for name in answered]
    if len(places) != scores.size:
        raise BadResponse(f"{len(places)} classes came with {scores.size} scores")
    known = tuple(columns) if names is None else names
    found = np.zeros((len(scores), max(len(known), 1)), np.float32)
    ranks = np.array(places, int).reshape(scores.shape)
    every = np.arange(len(scores))
    for rank in reversed(range(scores.shape[1])):  # so that of a name given twice the better score stays
        found[every, ranks[:, rank]] = scores[:, rank]
    return found, known


def _column(columns: Mapping[str, int], name: str) -> int:
    if name not in columns:
        raise BadResponse(f"the model answers {name!r}, which is none of the class names")
    return columns[name]
