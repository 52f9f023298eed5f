"""Examines one version: whether it loads, whether every signature runs, and which settings suit its graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangtag.contract import CARD, SERVING_DEFAULT, SIGNATURES, WARMUP
from hangtag.images.files import read_file
from hangtag.optional import require

from ..api.warmup import warm_up
from ..errors import ServingError
from ..models.servable import Servable
from . import FAIL, OK, WARN, Finding

IMAGE_TENSORFLOW = (2, 20)
"""The TensorFlow version of the serving image in compose.yaml and the Kubernetes files."""

_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_HEAVY_OPS = {"Conv2D", "DepthwiseConv2dNative", "Conv3D", "_FusedConv2D", "BatchMatMulV2", "Einsum"}
_LARGEST_CARD = 16 << 20  # bytes
_SMALL = 16 << 20  # bytes of variables
_PUBLISH_AGAIN = "publish it again: hangtag export or hangtag publish"


@dataclass(frozen=True)
class Graph:
    """The operations that a version's signatures may run, and the bytes of its variables."""

    ops: frozenset[str]
    variable_bytes: int

    @property
    def is_small_and_dense(self) -> bool:
        """Whether one thread for each operation is quicker than TensorFlow's default."""
        return self.variable_bytes < _SMALL and not self.ops & _HEAVY_OPS


def read_graph(folder: Path) -> Graph:
    """Read the graph from a version's files without loading it; raises OSError, or ValueError for a damaged file."""
    pb = require("tensorflow.core.protobuf.saved_model_pb2", extra="serving", what="hangtag doctor on models")
    message = require("google.protobuf.message", extra="serving", what="hangtag doctor on models")
    try:
        model = pb.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except message.DecodeError as error:
        raise ValueError(str(error)) from error
    ops: set[str] = set()
    for meta_graph in model.meta_graphs:
        ops |= _reachable(meta_graph.graph_def)
    size = sum(path.stat().st_size for path in (folder / "variables").glob("variables.data*"))
    return Graph(frozenset(ops), size)


def _reachable(graph: Any) -> set[str]:
    """The operations in the graph and in the functions that it calls."""
    functions = {function.signature.name: function for function in graph.library.function}
    ops: set[str] = set()
    seen: set[str] = set()
    waiting = [list(graph.node)]
    while waiting:
        for node in waiting.pop():
            ops.add(node.op)
            called = [node.op]
            for value in node.attr.values():
                called += [value.func.name, *(function.name for function in value.list.func)]
            for name in called:
                if name in functions and name not in seen:
                    seen.add(name)
                    waiting.append(list(functions[name].node_def))
    return ops


def examine_version(model: str, number: int, folder: Path, *, is_newest: bool) -> Iterator[Finding]:
    """Load the version like TensorFlow Serving, and examine its signatures and warmup requests."""
    subject = str(folder)
    try:
        servable = Servable(model, number, folder)
    except ServingError as error:
        message = f"does not load: {' '.join(error.message.split())}"
        if is_newest:
            message += "; TensorFlow Serving does not start with it, even if an older version is good"
            fix = f"move it away (mv {folder} {folder}.broken), then {_PUBLISH_AGAIN}"
            yield Finding(FAIL, "does-not-load", subject, message, fix)
        else:
            message += "; it is older, so only a label or a policy would load it"
            yield Finding(WARN, "does-not-load", subject, message, _PUBLISH_AGAIN)
        return
    try:
        findings = [*_examine_signatures(subject, servable), *_examine_graph(subject, folder)]
        findings += _examine_warmup(servable, folder)
    finally:
        servable.close()
    if not any(finding.level == FAIL for finding in findings):
        count = sum(not name.startswith("__") for name in servable.signatures)
        findings.insert(0, Finding(OK, "loads", subject, f"loads as in TensorFlow Serving; {count} signatures"))
    yield from sorted(findings, key=lambda finding: (OK, WARN, FAIL).index(finding.level))  # the worst comes last


def _examine_warmup(servable: Servable, folder: Path) -> Iterator[Finding]:
    try:
        warmed = warm_up(servable, folder)
    except ServingError as error:
        message = f"a warmup request fails, so the version does not load: {' '.join(error.message.split())}"
        yield Finding(FAIL, "warmup", str(folder / WARMUP), message, _PUBLISH_AGAIN)
        return
    if warmed:
        yield Finding(OK, "warmup", str(folder), f"{warmed} warmup requests run")
    else:
        yield Finding(WARN, "no-warmup", str(folder), "has no warmup requests: first calls are slow", _PUBLISH_AGAIN)


def _examine_signatures(subject: str, servable: Servable) -> Iterator[Finding]:
    missing = [name for name in SIGNATURES if name not in servable.signatures]
    if SERVING_DEFAULT in missing:
        message = f"has no signature {SERVING_DEFAULT}: every call must give one"
        yield Finding(WARN, "signatures", subject, message, _PUBLISH_AGAIN)
    elif missing:
        message = f"lacks {', '.join(missing)}: the SDK needs them to send image files or to read class names"
        yield Finding(WARN, "signatures", subject, message, f"pass labels=[…] to the client, or {_PUBLISH_AGAIN}")
    for name, signature in servable.signatures.items():
        if name.startswith("__"):
            continue
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for alias, info in sorted(tensors.items()):
                kind_of_tensor = _NOT_DENSE.get(info.WhichOneof("encoding"))
                if kind_of_tensor:
                    message = (
                        f"{kind} {alias} of {name} is a {kind_of_tensor} tensor, which no request can {_VERB[kind]}"
                    )
                    fix = "use dense tensors: .to_tensor() in the function"
                    yield Finding(FAIL, "ragged", subject, message, fix)
        flat = [alias for alias, info in sorted(signature.outputs.items()) if _is_flat(info)]
        if flat:
            message = f"output {', '.join(flat)} of {name} has no batch dimension: REST's row format and batching fail"
            yield Finding(WARN, "no-batch-dimension", subject, message, "give every output a batch dimension first")


_VERB = {"input": "send", "output": "fetch"}
_NOT_DENSE = {"composite_tensor": "ragged", "coo_sparse": "sparse"}


def _is_flat(info: Any) -> bool:
    return bool(info.name) and not info.tensor_shape.unknown_rank and not info.tensor_shape.dim


def _examine_graph(subject: str, folder: Path) -> Iterator[Finding]:
    try:
        graph = read_graph(folder)
    except (OSError, ValueError):  # a saved_model.pbtxt, which can be loaded too
        return
    for op in sorted(graph.ops & _PYTHON_OPS):
        message = f"{op} has no kernel in TensorFlow Serving: every request that runs it fails"
        yield Finding(
            FAIL, "python-op", subject, message, "write tf.py_function and tf.numpy_function in TensorFlow ops"
        )
    if graph.is_small_and_dense:
        message = "is small and has no convolutions: 1.1 to 1.25 times the throughput with one thread per operation"
        fix = "--tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=1, if all models are like it"
        yield Finding(OK, "threads", subject, message, fix)
    yield from _examine_card(subject, folder, graph)


def _examine_card(subject: str, folder: Path, graph: Graph) -> Iterator[Finding]:
    """Report features that a server with an older TensorFlow than the export's does not have."""
    try:
        version = json.loads(read_file(folder / CARD, _LARGEST_CARD))["tensorflow"]
        exported = tuple(int(part) for part in version.split(".")[:2])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if exported > IMAGE_TENSORFLOW and "DecodeImage" in graph.ops:
        image = ".".join(map(str, IMAGE_TENSORFLOW))
        message = f"was exported with TensorFlow {version}: image files in WebP are refused by the {image} image"
        yield Finding(OK, "image-formats", subject, message, "send PNG or JPEG files; nothing else differs")
