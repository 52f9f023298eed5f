"""Joins the replies to chunks of images to probabilities, float32 [N, C].

The model or the caller says what the scores are; they are never guessed from the numbers of a batch. Hangtag's models
name their output `probabilities`, or `independent_probabilities` if they are multi-label. Other models have a single
output of any name, `logits`, or `classes` and `scores`, the columns of TensorFlow Serving's Classify API.
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
_TOLERANCE = 1e-2  # rounding of a sum of float16 probabilities
_SHOWN = 10  # images that an error lists


def score_output(signature: Signature, name: str, chosen: str | None = None, *, binary: bool = False) -> str:
    """The name of the output with one score per class; raises InvalidInput if the signature does not show it.

    `chosen` is the caller's choice. `binary`: one score per image is enough, because the caller names two classes.
    """
    output = _score_output(signature, name, chosen)
    spec = signature.outputs[output]
    if spec.dtype not in _FLOATS:
        raise InvalidInput(f"{output} is {spec}, which is not one score per class: use predict()")
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
            f"signature {name!r} gives {', '.join(outputs) or 'nothing'}, not one score per class: choose one by "
            "output='NAME' (--model-output NAME), or use predict()"
        )
    return next(iter(outputs))


def _single(output: str) -> InvalidInput:
    """The error for a binary model: only the caller knows which class its single number stands for."""
    return InvalidInput(
        f"{output} gives one number per image, not one score per class: give the names of both classes with "
        "labels=[negative, positive] (--labels FILE), or use predict()"
    )


def is_ranked(signature: Signature, chosen: str | None = None) -> bool:
    """Whether each row of a reply names its own classes."""
    return chosen is None and PROBABILITIES not in signature.outputs and signature.outputs.keys() >= set(RANKED)


def class_count(model: ModelMetadata, signature_name: str, chosen: str | None = None) -> int | None:
    """How many classes the signature has, or the default one for a top-k signature; None if the shape is open."""
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
    """One of the contract's SCORES; None if neither the caller nor the output's name says it."""
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
    """The output of all chunks, float32 [N, C]; `classes` is C if it is known.

    One score per image is enough if it is `ranked` (the reply also names its class) or `binary`.
    """
    joined = replies[0].outputs.get(output)
    if len(replies) > 1 or joined is None or joined.shape != (len(chunks[0]), classes) or joined.dtype != _FLOAT32:
        parts = [_part(reply, len(chunk), output, ranked, binary) for reply, chunk in zip(replies, chunks, strict=True)]
        if len({classes or parts[0].shape[1], *(part.shape[1] for part in parts)}) > 1:
            raise BadResponse(f"{output} has different numbers of classes in different responses")
        joined = (parts[0] if len(parts) == 1 else np.concatenate(parts)).astype(np.float32, copy=False)
    # argmax returns the position of a NaN, if there is one
    if joined.size and not (joined.item(joined.argmax()) < np.inf and joined.item(joined.argmin()) > -np.inf):
        _check_numbers(output, joined)
    return joined


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


def _check_numbers(output: str, scores: np.ndarray) -> None:
    """Raise BadResponse for a NaN or an infinite best score. Other scores may be minus infinity: a class ruled out."""
    bad = np.flatnonzero(~np.isfinite(scores.max(axis=1))).tolist()
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
    """Scores [N, C] as probabilities; [N, 1] becomes [N, 2]. Raises InvalidInput if `kind` cannot be right.

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
                f"{output} runs from {scores.min():g} to {scores.max():g}, which a sigmoid cannot return: "
                "for logits, give scores='logits' (--scores logits)"
            )
        if scores.shape[1] == 1:
            scores = np.concatenate([1 - scores, scores], axis=1)
    return scores


def sum_to_one(scores: np.ndarray) -> bool:
    """Whether every row sums to 1, as the probabilities of exclusive classes do."""
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
    """Convert scores ordered by rank, [N, k], to scores ordered by `names`, [N, C]; missing classes get 0.

    Without `names`, the classes are the names in the replies, in order of appearance. If several classes have the same
    name, the replies cannot tell them apart, and the first of them gets the score.
    """
    columns: dict[str, int] = {}
    for column, name in enumerate(names or ()):
        columns.setdefault(name, column)
    places = []
    for reply in replies:
        classes = reply.outputs.get(RANKED[0])
        if classes is None or classes.dtype != object:
            raise BadResponse(f"{RANKED[0]} does not contain strings")
        answered = [name.decode("utf-8", "replace") for name in classes.ravel().tolist()]
        if names is None:
            for name in answered:
                columns.setdefault(name, len(columns))
        places += [_column(columns, name) for name in answered]
    if len(places) != scores.size:
        raise BadResponse(f"{len(places)} classes have {scores.size} scores")
    known = tuple(columns) if names is None else names
    result = np.zeros((len(scores), max(len(known), 1)), np.float32)
    ranks = np.array(places, int).reshape(scores.shape)
    every = np.arange(len(scores))
    for rank in reversed(range(scores.shape[1])):  # worst first, so the better score of a repeated name wins
        result[every, ranks[:, rank]] = scores[:, rank]
    return result, known


def _column(columns: Mapping[str, int], name: str) -> int:
    if name not in columns:
        raise BadResponse(f"the model returned {name!r}, which is not one of the class names")
    return columns[name]
