"""One loaded version of a model, run through a TensorFlow Session as TensorFlow Serving does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hangtag.errors import CODES
from hangtag.optional import require

from ..api.tensor_protos import number_of, numpy_dtype, short_name
from ..errors import ServingError, invalid
from ..metrics import Histogram
from .freezing import Parts, freeze

_MISSING = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
    "`saved_model.pb`)\nSpecified file path: {}"
)
_RESOURCE = 20  # DataType
_RESOURCE_GIVEN = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That "
    "is not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally "
    "with a short code snippet that leads to this error message."
)
_UNREADABLE = "Read less bytes than requested"  # the C++ server's words for a saved_model.pb that is none

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
Batched = Callable[[tuple[str, ...], Run, Mapping[str, np.ndarray]], list[np.ndarray]]


class _Plan(NamedTuple):
    """A prepared call, and its arguments in their order: names and numpy dtypes (None: one that numpy has not)."""

    call: Callable[..., list[np.ndarray]]
    aliases: list[str]
    dtypes: list[np.dtype | None]


@dataclass(frozen=True)
class LoadOptions:
    """How models are loaded. Threads: 0 lets TensorFlow choose."""

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    checks_methods: bool = False
    """Whether a signature's method_name must be that of the API it is called by."""


class Servable:
    """Loads the SavedModel in `folder`; raises ServingError if it does not load.

    `signatures` are the SignatureDef messages by name.
    """

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        options: LoadOptions = LoadOptions(),
        runtime_latency: Histogram | None = None,
    ) -> None:
        self.name, self.version, self.checks_methods = name, version, options.checks_methods
        self._runtime_latency = runtime_latency
        self._running, self._closing = 0, False
        self._idle = threading.Condition()
        self._plans: dict[tuple[str, ...], _Plan] = {}  # by signature and outputs
        self.prepared: dict[object, Any] = {}
        """What the fast paths have prepared for this version: it goes when the version goes."""
        self.batched: Batched | None = None
        """Runs a call together with others of the same key, if --enable_batching says so."""
        tf = require("tensorflow", extra="serving", what="hangtag serve")
        self._op_error: type[Exception] = tf.errors.OpError
        self._config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
        )
        _check_files(name, version, folder)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=self._config)
        self._frozen_session: Any = None
        self._frozen: set[str] = set()
        try:
            self._load(tf, folder, options.tags)
        except tf.errors.OpError as error:
            self._close_sessions()
            raise _op_error(error) from error
        except ServingError:
            self._close_sessions()
            raise
        except Exception as error:
            self._close_sessions()
            raise _not_loaded(folder, error) from error

    def _load(self, tf: Any, folder: Path, tags: Sequence[str]) -> None:
        meta_graph = tf.compat.v1.saved_model.loader.load(self._session, list(tags), str(folder))
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)
        served = {name: s for name, s in self.signatures.items() if s.outputs and not name.startswith("__")}
        graph_def = self._session.graph.as_graph_def()
        parts = Parts(graph_def)
        self._check_variables(tf, {node for signature in served.values() for node in parts.variables(signature)})
        self._frozen = {name for name, signature in served.items() if parts.can_be_frozen(signature)}
        if not self._frozen:
            return
        try:
            frozen = freeze(self._session, graph_def, [served[name] for name in self._frozen])
            graph = tf.Graph()
            with graph.as_default():
                tf.import_graph_def(frozen, name="")
            self._frozen_session = tf.compat.v1.Session(graph=graph, config=self._config)
        except Exception:  # whatever the converter cannot take runs as it was loaded
            self._frozen = set()
            return
        if len(self._frozen) == len(served):
            self._session.close()  # the variables live on as constants; their memory is wanted back
            self._session = self._frozen_session

    def _check_variables(self, tf: Any, names: set[str]) -> None:
        """Refuse a version whose variables have no values; the C++ server makes it AVAILABLE and fails each request."""
        graph = self._session.graph
        operations = [graph.get_operation_by_name(name) for name in sorted(names)]
        handles = [operation for operation in operations if operation.type == "VarHandleOp"]
        with graph.as_default():
            checks = [tf.raw_ops.VarIsInitializedOp(resource=handle.outputs[0]) for handle in handles]
        for handle, has_value in zip(handles, self._session.run(checks), strict=True):
            if not has_value:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    f"Could not find variable {handle.get_attr('shared_name').decode() or handle.name}. The version "
                    "has no value for it: is its variables/ folder complete, and did the export track the model?",
                )

    def signature(self, name: str) -> Any:
        """The SignatureDef of that name, or None; an empty name is ``serving_default``."""
        return self.signatures.get(name or "serving_default")

    def keeps_no_state(self, signature_name: str) -> bool:
        """Whether the signature reads nothing but its inputs and constants."""
        return (signature_name or "serving_default") in self._frozen

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], api: str = "Predict"
    ) -> list[np.ndarray]:
        """The named outputs of a signature. The caller has checked the names; dtypes and shapes are checked here."""
        plan = self._plans.get((signature_name, *outputs))
        if plan is None:
            plan = self._prepare(signature_name, outputs)
        for position, alias in enumerate(plan.aliases):
            if inputs[alias].dtype != plan.dtypes[position]:
                self._check_dtype(signature_name, position, alias, inputs[alias])
        if self.batched is not None:
            return self.batched((signature_name, *outputs), partial(self._run, plan, api), inputs)
        return self._run(plan, api, inputs)

    def _run(self, plan: _Plan, api: str, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = [inputs[alias] for alias in plan.aliases]
        begun = time.perf_counter()
        try:
            results = [_array(result) for result in plan.call(*arrays)]
        except self._op_error as error:
            raise _op_error(error) from error
        except (ValueError, TypeError) as error:  # TensorFlow's Python side refuses before the graph sees it
            raise invalid(str(error)) from error
        if self._runtime_latency is not None:
            self._runtime_latency.observe((time.perf_counter() - begun) * 1e6, self.name, api, "TF1")
        return results

    def _check_dtype(self, signature_name: str, position: int, alias: str, array: np.ndarray) -> None:
        wanted, given = self.signature(signature_name).inputs[alias].dtype, number_of(array)
        if given == _RESOURCE != wanted:
            raise invalid(_RESOURCE_GIVEN)
        if wanted != given:
            raise invalid(f"Expects arg[{position}] to be {short_name(wanted)} but {short_name(given)} is provided")

    def _prepare(self, signature_name: str, outputs: Sequence[str]) -> _Plan:
        """A prepared call that runs in the caller's thread: no hand-over to a pool, no look-up by name."""
        config = require("tensorflow.core.protobuf.config_pb2", extra="serving", what="hangtag serve")
        name, signature = signature_name or "serving_default", self.signature(signature_name)
        aliases = sorted(signature.inputs)
        options = config.CallableOptions()
        options.feed.extend(signature.inputs[alias].name for alias in aliases)
        options.fetch.extend(signature.outputs[alias].name for alias in outputs)
        session = self._frozen_session if name in self._frozen else self._session
        _check_outputs(session.graph, options.fetch)
        if name in self._frozen:
            options.run_options.inter_op_thread_pool = -1
        try:
            call = session._make_callable_from_options(options)
        except self._op_error as error:  # the signature names what the graph has not
            raise _op_error(error) from error
        plan = _Plan(call, aliases, [numpy_dtype(signature.inputs[alias].dtype) for alias in aliases])
        self._plans[(signature_name, *outputs)] = plan
        return plan

    # ---- use and retirement

    def acquire(self) -> bool:
        """Keep this version loaded until `release`; False if it is being unloaded."""
        with self._idle:
            if self._closing:
                return False
            self._running += 1
            return True

    def share(self) -> None:
        """Acquire once more what the caller has acquired: never refused."""
        with self._idle:
            self._running += 1

    def release(self) -> None:
        """The opposite of `acquire`."""
        with self._idle:
            self._running -= 1
            if not self._running:
                self._idle.notify_all()

    def close(self) -> None:
        """Wait for the requests that use this version, then free it."""
        with self._idle:
            self._closing = True
            self._idle.wait_for(lambda: self._running == 0)
        self._close_sessions()

    def _close_sessions(self) -> None:
        self._plans.clear()
        self.prepared.clear()
        self._session.close()
        if self._frozen_session is not None:
            self._frozen_session.close()


def _array(result: Any) -> np.ndarray:
    """TensorFlow gives a string of rank 0 as bytes."""
    return np.array(result, object) if isinstance(result, bytes) else result


def _check_outputs(graph: Any, names: Iterable[str]) -> None:
    """Refuse what no operation gives: TensorFlow's exports list the one that initialises them as a signature."""
    for name in names:
        node, _, index = name.partition(":")
        try:
            operation = graph.get_operation_by_name(node)
        except (KeyError, ValueError):  # TensorFlow has its own text for it
            continue
        if int(index or 0) >= len(operation.outputs):
            raise ServingError(
                "OUT_OF_RANGE",
                f"Node '{node}' (type: '{operation.type}', num of outputs: {len(operation.outputs)}) does not have "
                f"output {int(index or 0)}",
            )


def _check_files(name: str, version: int, folder: Path) -> None:
    if not folder.is_dir():
        reserving = f"Error while attempting to reserve resources to load servable {{name: {name} version: {version}}}"
        raise ServingError("FAILED_PRECONDITION", f"{reserving}: {folder}; Not a directory")
    if not ((folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file()):
        raise ServingError("NOT_FOUND", _MISSING.format(folder))


def _op_error(error: Any) -> ServingError:
    """A TensorFlow error without the line that its Python side puts before some."""
    return ServingError(CODES[error.error_code], error.message.removeprefix("Graph execution error:\n\n"))


def _not_loaded(folder: Path, error: Exception) -> ServingError:
    """From what TensorFlow's Python loader says to what the C++ loader would."""
    words = str(error)
    if "could not be found in SavedModel" in words:  # the tags
        return ServingError("NOT_FOUND", words)
    if "not a valid checkpoint" in words:
        return ServingError("NOT_FOUND", f"the variables of {folder} are missing: is its variables/ folder complete?")
    if "Cannot parse file" in words or "Error parsing" in words:
        return ServingError("OUT_OF_RANGE", _UNREADABLE)
    return ServingError("DATA_LOSS", f"cannot load {folder}: {words}")
