"""Loads a SavedModel in a TensorFlow Session, as TensorFlow Serving does.

`hangtag_export` loads versions in the same way. The two packages do not import each other, so each has these few lines.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangtag.errors import CODES
from hangtag.optional import require

from ..errors import ServingError
from .freezing import Parts, freeze

log = logging.getLogger("hangtag.serving")

_MAX_FROZEN_BYTES = 64 << 20
"""The limit for variables that become constants. Each signature counts, because its prepared call copies its constants.

Freezing saves microseconds for a small model, and a fifth of ResNet50's 160 ms. But copying large weights for each
signature takes seconds, and more memory than the model.
"""

_MISSING = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
    "`saved_model.pb`)\nSpecified file path: {}"
)
_UNREADABLE = "Read less bytes than requested"  # the C++ server's text for a damaged saved_model.pb


@dataclass(frozen=True)
class LoadOptions:
    """How models are loaded. Threads: 0 lets TensorFlow choose."""

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    checks_methods: bool = False
    """Whether the method_name of a signature must match the API that calls it."""


DEFAULT_OPTIONS = LoadOptions()


@dataclass
class SavedModel:
    """A loaded SavedModel. `signatures` are the SignatureDef messages by name.

    `stateless` signatures only read variables; `frozen` ones run in `frozen_session`, without variables. `unfetchable`
    has for each signature the reason why an output cannot be fetched, or "".
    """

    signatures: dict[str, Any]
    stateless: set[str]
    unfetchable: dict[str, str]
    session: Any
    frozen_session: Any = None
    frozen: frozenset[str] = frozenset()

    def served(self) -> dict[str, Any]:
        """The signatures that requests can run."""
        return {name: s for name, s in self.signatures.items() if s.outputs and not name.startswith("__")}

    def session_of(self, signature: str) -> Any:
        """The session that runs a signature."""
        return self.frozen_session if signature in self.frozen else self.session

    def close(self) -> None:
        """Free the graph and its variables."""
        self.session.close()
        if self.frozen_session is not None:
            self.frozen_session.close()


def load(name: str, version: int, folder: Path, options: LoadOptions) -> SavedModel:
    """Load a version's folder; raises ServingError."""
    _check_files(name, version, folder)
    tf = require("tensorflow", extra="serving", what="hangtag serve")
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, list(options.tags), str(folder))
        signatures = dict(meta_graph.signature_def)
        parts = Parts(session.graph.as_graph_def())
        unfetchable = {name: _unfetchable(session.graph, signature) for name, signature in signatures.items()}
        model = SavedModel(signatures, set(), unfetchable, session)
        served = model.served()
        variables = {name: parts.variables(signature) for name, signature in served.items()}
        _check_variables(tf, session, set().union(*variables.values()))
        model.stateless = {name for name, signature in served.items() if parts.is_stateless(signature)}
        if sum(parts.bytes_of(variables[name]) for name in model.stateless) <= _MAX_FROZEN_BYTES:
            _freeze(tf, model, parts, config)
        return model
    except Exception as error:
        session.close()
        if isinstance(error, ServingError):
            raise
        raise (op_error(error) if isinstance(error, tf.errors.OpError) else _not_loaded(folder, error)) from error


def _freeze(tf: Any, model: SavedModel, parts: Parts, config: Any) -> None:
    """Turn the variables of stateless signatures into constants."""
    if not model.stateless:
        return
    try:
        frozen = freeze(model.session, parts.graph_def, [model.signatures[name] for name in model.stateless])
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(frozen, name="")
        model.frozen_session = tf.compat.v1.Session(graph=graph, config=config)
    except Exception as error:  # a graph that cannot be converted runs as it was loaded
        log.debug("the graph cannot be frozen: %s", error)
        return
    model.frozen = frozenset(model.stateless)
    if len(model.frozen) == len(model.served()):
        model.session.close()  # frees the memory of the variables, whose values are now constants
        model.session = model.frozen_session


def _check_variables(tf: Any, session: Any, names: set[str]) -> None:
    """Raise ServingError if variables have no values. The C++ server loads such a version, and each request fails."""
    graph = session.graph
    operations = [graph.get_operation_by_name(name) for name in sorted(names)]
    handles = [operation for operation in operations if operation.type == "VarHandleOp"]
    with graph.as_default():
        checks = [tf.raw_ops.VarIsInitializedOp(resource=handle.outputs[0]) for handle in handles]
    for handle, has_value in zip(handles, session.run(checks), strict=True):
        if not has_value:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"Could not find variable {handle.get_attr('shared_name').decode() or handle.name}. The version "
                "has no value for it: is its variables/ folder complete, and did the export track the model?",
            )


def _unfetchable(graph: Any, signature: Any) -> str:
    """Why an output cannot be fetched, or "". TensorFlow's exports list the operation that initialises variables."""
    for info in signature.outputs.values():
        node, _, index = info.name.partition(":")
        try:
            operation = graph.get_operation_by_name(node)
        except (KeyError, ValueError):  # TensorFlow reports this when the output is fetched
            continue
        if int(index or 0) >= len(operation.outputs):
            return (
                f"Node '{node}' (type: '{operation.type}', num of outputs: {len(operation.outputs)}) does not have "
                f"output {index or 0}"
            )
    return ""


def has_graph(folder: Path) -> bool:
    """Whether there is a graph to load; the C++ server does not count attempts to load a folder without one."""
    return (folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file()


def _check_files(name: str, version: int, folder: Path) -> None:
    if not folder.is_dir():
        reserving = f"Error while attempting to reserve resources to load servable {{name: {name} version: {version}}}"
        raise ServingError("FAILED_PRECONDITION", f"{reserving}: {folder}; Not a directory")
    if not has_graph(folder):
        raise ServingError("NOT_FOUND", _MISSING.format(folder))


def op_error(error: Any) -> ServingError:
    """The ServingError for a TensorFlow error, without the line that TensorFlow's Python API adds."""
    return ServingError(CODES[error.error_code], error.message.removeprefix("Graph execution error:\n\n"))


def _not_loaded(folder: Path, error: Exception) -> ServingError:
    """The error of the C++ loader for an error of TensorFlow's Python loader."""
    text = str(error)
    if "could not be found in SavedModel" in text:  # no graph with these tags
        return ServingError("NOT_FOUND", text)
    if "not a valid checkpoint" in text:
        return ServingError("NOT_FOUND", f"the variables of {folder} are missing: is its variables/ folder complete?")
    if "Cannot parse file" in text or "Error parsing" in text:
        return ServingError("OUT_OF_RANGE", _UNREADABLE)
    return ServingError("DATA_LOSS", f"cannot load {folder}: {text}")
