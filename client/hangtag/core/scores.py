"""From the answers to chunks of images to one float32 [N, C] and its class names, whatever the model calls them.

A model of Hangtag's own answers with `probabilities`. Others answer with one unnamed float output, with logits, or
with `classes` and `scores`, the columns of TensorFlow Serving's Classify API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..contract import LOGITS, PROBABILITIES, SERVING_DEFAULT
from ..errors import BadResponse, InvalidInput
from ..model import ModelMetadata, Reply, Signature

RANKED = ("classes", "scores")
_TOLERANCE = 1e-3  # of probabilities in float16


def score_output(signature: Signature, name: str) -> str:
    """Which output holds one score a class; raises InvalidInput if that cannot be told."""
    output = _score_output(signature, name)
    shape = signature.outputs[output].shape
    if shape and (len(shape) == 1 or shape[-1] == 1) and not is_ranked(signature):
        raise _single(output)
    return output


def _score_output(signature: Signature, name: str) -> str:
    outputs = signature.outputs
    for known in (PROBABILITIES, LOGITS, "scores"):
        if known in outputs:
            return known
    if len(outputs) != 1:
        raise InvalidInput(
            f"signature {name!r} gives {', '.join(outputs) or 'nothing'}, not one score a class; use predict()"
        )
    return next(iter(outputs))


def _single(output: str) -> InvalidInput:
    """For a binary model, a sigmoid or a logit: only the caller knows which class it stands for."""
    return InvalidInput(f"{output} gives one number an image, not one score a class; use predict()")


def is_ranked(signature: Signature) -> bool:
    """Whether the answer names its classes itself, row by row."""
    return PROBABILITIES not in signature.outputs and signature.outputs.keys() >= set(RANKED)


def class_count(model: ModelMetadata, signature_name: str) -> int | None:
    """How many classes there are, as far as the signature (or the default one, for a top-k signature) says."""
    for name in (signature_name or SERVING_DEFAULT, SERVING_DEFAULT):
        signature = model.signatures.get(name)
        if signature is not None and not is_ranked(signature):
            shape = signature.outputs[_score_output(signature, name)].shape
            return shape[-1] if shape else None
    return None


def join(
    replies: Sequence[Reply], rows: Sequence[int], output: str, classes: int | None = None, *, ranked: bool = False
) -> np.ndarray:
    """The float output of all chunks, float32 [N, C]; `rows` is the number of images in each, `classes` C if known.

    One score an image is enough only where it is `ranked`, beside the name of its class.
    """
    parts = []
    for reply, count in zip(replies, rows, strict=True):
        part = reply.outputs.get(output)
        if part is None or part.ndim != 2 or len(part) != count or part.shape[1] == 0 or part.dtype.kind != "f":
            shape = "nothing" if part is None else f"{part.dtype} {list(part.shape)}"
            raise BadResponse(f"{output} for {count} images came as {shape}; expected floats [{count}, classes]")
        if part.shape[1] == 1 and not ranked:
            raise _single(output)
        parts.append(part)
        if part.shape[1] != (classes or parts[0].shape[1]):
            raise BadResponse(f"{output} came with differing numbers of classes")
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)).astype(np.float32, copy=False)


def are_logits(scores: np.ndarray) -> bool:
    """Whether `scores` cannot be probabilities."""
    return bool(scores.size) and bool(scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE)


def are_shares(scores: np.ndarray) -> bool:
    """Whether `scores`, which are no logits, come from a softmax: every row sums to 1."""
    return bool(scores.size) and bool((abs(scores.sum(axis=1) - 1) < 10 * _TOLERANCE).all())


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
