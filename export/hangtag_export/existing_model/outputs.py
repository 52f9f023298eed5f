"""The outputs of a trained model: which of them has the scores, and how these become probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.core.scores import softmax
from hangtag.errors import InvalidInput
from hangtag.optional import require

_UNCHANGED = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "EnsureShape")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@dataclass(frozen=True)
class ScoreOutput:
    """How scores, float32 [N, C], become probabilities; C is 1 for a single sigmoid."""

    name: str  # of the model's output
    classes: int
    scores: str  # of contract.SCORES
    is_single: bool  # one number for two classes

    @property
    def signature_output(self) -> str:
        """The name of the output in the published signatures."""
        if self.scores == "sigmoid" and not self.is_single:
            return contract.INDEPENDENT_PROBABILITIES
        return contract.PROBABILITIES

    def probabilities(self, scores: Any) -> Any:
        """The probabilities for a tensor of scores, in the graph."""
        tf = require("tensorflow", extra="export", what="publishing a model")
        scores = tf.reshape(tf.cast(scores, tf.float32), (-1, 1 if self.is_single else self.classes))
        if self.is_single:
            if self.scores == "logits":
                return tf.concat([tf.sigmoid(-scores), tf.sigmoid(scores)], axis=1)
            return tf.concat([1 - scores, scores], axis=1)
        return tf.nn.softmax(scores) if self.scores == "logits" else scores

    def expected(self, scores: np.ndarray) -> np.ndarray:
        """The same with numpy, as float64, for comparison."""
        values = np.asarray(scores, np.float64).reshape(len(scores), -1)
        if self.is_single:
            positive = 1 / (1 + np.exp(-values)) if self.scores == "logits" else values
            return np.concatenate([1 - positive, positive], axis=1)
        return softmax(values) if self.scores == "logits" else values


def choose_output(names: Sequence[str], wanted: str | None) -> str:
    """The name of the output with the scores. Raises InvalidInput."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise InvalidInput(f"the model has {len(names)} outputs: choose one with --output ({', '.join(names)})")
    if wanted not in names:
        raise InvalidInput(f"the model has no output {wanted!r} (it has {', '.join(names)})")
    return wanted


def score_output(
    name: str, shape: Sequence[int | None], operation: str, declared: str | None, class_names: Sequence[str]
) -> ScoreOutput:
    """Describe the output `name`, of `shape` including the batch, which `operation` computes. Raises InvalidInput."""
    units = _units(name, shape)
    single = units == 1
    scores = _kind(name, operation, declared, single=single)
    if single and len(class_names) != 2:
        raise InvalidInput(
            f"output {name!r} has one unit, for two classes: give two class names (first that of 0, then that of 1), "
            f"not {len(class_names)}"
        )
    if not single and len(class_names) != units:
        raise InvalidInput(f"output {name!r} has {units} classes, and there are {len(class_names)} class names")
    return ScoreOutput(name, len(class_names), scores, single)


def _units(name: str, shape: Sequence[int | None]) -> int:
    rest = list(shape[1:])
    if not rest:
        return 1
    if rest[-1] is None or any(each != 1 for each in rest[:-1]):
        listed = ", ".join("?" if each is None else str(each) for each in rest)
        raise InvalidInput(f"output {name!r} is [N, {listed}]: a classifier's is [N, C], one number for each class")
    return rest[-1]


def _kind(name: str, operation: str, declared: str | None, *, single: bool) -> str:
    """The kind of scores, declared or determined by the last operation. The two must not contradict each other."""
    known = {"Softmax": "probabilities", "Sigmoid": "sigmoid", "LogSoftmax": "logits"}.get(operation)
    if single and operation in ("Softmax", "LogSoftmax"):
        raise InvalidInput(f"output {name!r} is a softmax of one unit, which is always 1: the model cannot classify")
    if declared is None and known is None:
        raise InvalidInput(
            f"output {name!r} ends neither in a softmax nor in a sigmoid (but in {operation or 'something unknown'}): "
            f"give their meaning with --scores {'|'.join(contract.SCORES)}"
        )
    if declared is None or known is None:
        scores = declared or known or ""
    elif declared == known or (single and declared == "probabilities"):
        scores = known
    else:
        raise InvalidInput(
            f"output {name!r} ends in a {operation.lower()}, so its scores are not {declared}: leave --scores out"
        )
    return "sigmoid" if single and scores == "probabilities" else scores


def check_scores(output: ScoreOutput, probabilities: np.ndarray, tolerance: float) -> None:
    """Raise InvalidInput if these are not probabilities, which means that the declared kind is wrong."""
    if not np.isfinite(probabilities).all():
        raise InvalidInput(f"output {output.name!r} is not a finite number for some images: the model is damaged")
    low, high = probabilities.min(), probabilities.max()
    if low < -tolerance or high > 1 + tolerance:
        raise InvalidInput(
            f"output {output.name!r} has values from {low:.3g} to {high:.3g}, so they are not {output.scores}: "
            "try --scores logits"
        )
    independent = output.signature_output == contract.INDEPENDENT_PROBABILITIES
    if not independent and np.abs(probabilities.sum(axis=1) - 1).max() > max(tolerance, 1e-3):
        raise InvalidInput(
            f"rows of output {output.name!r} do not sum to 1, so they are not the probabilities of a softmax: "
            "try --scores sigmoid"
        )


def last_operation(function: Any, output: str) -> str:
    """The TensorFlow operation that computes an output of a concrete function; "" if it cannot be found."""
    tensor = function.structured_outputs[output]
    graph = function.graph.as_graph_def()
    library = {each.signature.name: each for each in graph.library.function}
    return _follow({node.name: node for node in graph.node}, f"{tensor.op.name}:{tensor.value_index}", library)


def _follow(nodes: Mapping[str, Any], tensor: str, library: Mapping[str, Any]) -> str:
    while True:
        name, *rest = tensor.lstrip("^").split(":")
        node = nodes.get(name)
        if node is None:
            return ""
        if node.op in _CALLS:
            called = library.get(node.attr["f"].func.name)
            if called is None:
                return ""
            result = called.signature.output_arg[int(rest[-1]) if rest else 0].name
            inner = {each.name: each for each in called.node_def}
            return _follow(inner, called.ret[result], library)
        if node.op not in _UNCHANGED or not node.input:
            return str(node.op)
        tensor = node.input[0]
