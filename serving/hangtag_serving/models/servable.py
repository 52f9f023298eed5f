"""A loaded version of a model, which runs in a TensorFlow Session as in TensorFlow Serving."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hangtag.contract import SERVING_DEFAULT
from hangtag.optional import require

from ..bounded_cache import BoundedCache
from ..errors import ServingError, invalid
from ..limits import DEFAULT, STRING_BYTES, Budget, Limits, bytes_of
from ..metrics import Histogram
from ..tensors.types import number_of, numpy_dtype, short_name
from .saved_model import DEFAULT_OPTIONS, LoadOptions, load, op_error

_RESOURCE = 20  # DataType
_RESOURCE_GIVEN = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That "
    "is not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally "
    "with a short code snippet that leads to this error message."
)
log = logging.getLogger("hangtag.serving")

_MAX_CALLS = 16  # prepared calls of a signature; they are cached, because TensorFlow takes milliseconds to make one
_MAX_PREPARED = 512  # cached objects of the fast paths, limited because clients choose the shapes
PREPARED_BYTES = 4096
"""Memory of one of these objects with its key; the fast paths only read short names."""
_MAX_EXAMPLE_BYTES = 64 << 20

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
Batched = Callable[[tuple[str, ...], Run, Mapping[str, np.ndarray]], list[np.ndarray]]


class _Call(NamedTuple):
    """A prepared call. `run` takes the inputs `aliases`, of these dtypes, in this order, and returns `outputs`.

    `row_bytes` is the smallest memory of a row of all outputs.
    """

    run: Callable[..., list[np.ndarray]]
    aliases: list[str]
    dtypes: list[np.dtype | None]
    outputs: tuple[str, ...]
    row_bytes: int


class Servable:
    """Loads the SavedModel in `folder`; raises ServingError if it does not load.

    `signatures` are the SignatureDef messages by name.
    """

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        options: LoadOptions = DEFAULT_OPTIONS,
        runtime_latency: Histogram | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.name, self.version, self.checks_methods, self.limits = name, version, options.checks_methods, limits
        self._runtime_latency = runtime_latency
        self._running, self._closing = 0, False
        self._use = threading.Lock()  # not a Condition, which is slow Python code: each request locks it four times
        self._unused = threading.Event()
        self._calls: dict[str, dict[tuple[str, ...], _Call]] = {}  # by signature and outputs
        self.prepared: BoundedCache[object, Any] = BoundedCache(_MAX_PREPARED, _MAX_PREPARED * PREPARED_BYTES)
        """What the fast paths have prepared for this version. It is freed with the version."""
        self.batched: Batched | None = None
        """With --enable_batching, runs a call together with others of the same key."""
        self._op_error: type[Exception] = require("tensorflow", extra="serving", what="hangtag serve").errors.OpError
        self._model = load(name, version, folder, options)
        self.signatures = self._model.signatures
        for served in self._model.served():
            self._prepare_signature(served)

    def _prepare_signature(self, name: str) -> None:
        """Prepare the usual call, and run a stateless one once, so that the first request is not slow."""
        signature = self.signatures[name]
        try:
            call = self._prepare(name, tuple(sorted(signature.outputs)))
            examples = [_example(signature.inputs[alias]) for alias in call.aliases]
            if name in self._model.stateless and all(example is not None for example in examples):
                call.run(*examples)
        except Exception as error:  # the example may not suit the model; other errors will occur in requests too
            log.debug("%s version %d, signature %s, could not be prepared: %s", self.name, self.version, name, error)

    def signature(self, name: str) -> Any:
        """The SignatureDef of that name, or None; an empty name is ``serving_default``."""
        return self.signatures.get(name or SERVING_DEFAULT)

    def keeps_no_state(self, signature_name: str) -> bool:
        """Whether the outputs depend only on the inputs."""
        return (signature_name or SERVING_DEFAULT) in self._model.stateless

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        api: str = "Predict",
        budget: Budget | None = None,
    ) -> list[np.ndarray]:
        """The named outputs of a signature. The caller has checked the names; dtypes and shapes are checked here.

        The memory of the outputs is counted in `budget`: the known part before the run, the rest after it.
        """
        chosen = tuple(outputs)
        call = self._call(signature_name or SERVING_DEFAULT, chosen)
        for position, alias in enumerate(call.aliases):
            if inputs[alias].dtype != call.dtypes[position]:
                self._check_dtype(signature_name, position, alias, inputs[alias])
        known = call.row_bytes * max([len(array) for array in inputs.values() if array.ndim], default=0)
        if budget is not None or known > self.limits.tensor_bytes:
            budget = budget or Budget(self.limits)
            budget.take(known)
        if self.batched is not None:
            results = self.batched((signature_name, *call.outputs), partial(self._run, call, api), inputs)
        else:
            results = self._run(call, api, inputs)
        more = bytes_of(results) - known
        if more > 0:
            (budget or Budget(self.limits)).take(more)
        if call.outputs == chosen:
            return results
        named = dict(zip(call.outputs, results, strict=True))
        return [named[alias] for alias in chosen]

    def _run(self, call: _Call, api: str, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = [inputs[alias] for alias in call.aliases]
        begun = time.perf_counter()
        try:
            results = [_array(result) for result in call.run(*arrays)]
        except self._op_error as error:
            raise op_error(error) from error
        except (ValueError, TypeError) as error:  # raised by TensorFlow's Python API before the graph runs
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

    def _call(self, name: str, outputs: tuple[str, ...]) -> _Call:
        """A prepared call for these outputs in this order, or for all outputs of the signature, sorted by name.

        Clients choose the outputs, so only a limited number of choices is prepared.
        """
        calls = self._calls.setdefault(name, {})
        call = calls.get(outputs)
        if call is None and len(calls) >= _MAX_CALLS:
            outputs = tuple(sorted(self.signatures[name].outputs))
            call = calls.get(outputs)
        return call or self._prepare(name, outputs)

    def _prepare(self, name: str, outputs: tuple[str, ...]) -> _Call:
        """Prepare a call that runs in the caller's thread, without a thread pool and without looking up names."""
        if self._model.unfetchable[name]:
            raise ServingError("OUT_OF_RANGE", self._model.unfetchable[name])
        config = require("tensorflow.core.protobuf.config_pb2", extra="serving", what="hangtag serve")
        signature = self.signatures[name]
        aliases = sorted(signature.inputs)
        options = config.CallableOptions()
        options.feed.extend(signature.inputs[alias].name for alias in aliases)
        options.fetch.extend(signature.outputs[alias].name for alias in outputs)
        if name in self._model.frozen:
            options.run_options.inter_op_thread_pool = -1
        try:
            run = self._model.session_of(name)._make_callable_from_options(options)
        except self._op_error as error:  # the signature names a tensor that is not in the graph
            raise op_error(error) from error
        dtypes = [numpy_dtype(signature.inputs[alias].dtype) for alias in aliases]
        row_bytes = sum(_row_bytes(signature.outputs[alias]) for alias in outputs)
        call = _Call(run, aliases, dtypes, outputs, row_bytes)
        self._calls.setdefault(name, {})[outputs] = call
        return call

    # ---- use and retirement

    def acquire(self) -> bool:
        """Prevent unloading until `release`; returns False if the version is being unloaded."""
        with self._use:
            if self._closing:
                return False
            self._running += 1
            return True

    def share(self) -> None:
        """Acquire again, by a caller that has already acquired this version; it always succeeds."""
        with self._use:
            self._running += 1

    def release(self) -> None:
        """Release what `acquire` or `share` acquired."""
        with self._use:
            self._running -= 1
            if self._closing and not self._running:
                self._unused.set()

    def close(self) -> None:
        """Wait for the requests that use this version, then free its memory."""
        with self._use:
            self._closing = True
            if not self._running:
                self._unused.set()
        self._unused.wait()
        self._calls.clear()
        self.prepared.clear()
        self._model.close()


def _array(result: Any) -> np.ndarray:
    """`result` as an array: TensorFlow returns a string of rank 0 as bytes."""
    return np.array(result, object) if isinstance(result, bytes) else result


def _row_bytes(info: Any) -> int:
    """The smallest memory of a row of an output; 0 if it has no batch dimension."""
    dims: list[int] = [dim.size for dim in info.tensor_shape.dim]
    dtype = numpy_dtype(info.dtype)
    if not dims or dims[0] >= 0 or dtype is None:
        return 0
    return math.prod(max(size, 1) for size in dims[1:]) * (STRING_BYTES if dtype.hasobject else dtype.itemsize)


def _example(info: Any) -> np.ndarray | None:
    """One row of zeros for an input; None if it is not numeric, or its rank is unknown."""
    dtype = numpy_dtype(info.dtype)
    if dtype is None or dtype.kind not in "iufb" or info.tensor_shape.unknown_rank:
        return None
    shape = [1 if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    return np.zeros(shape, dtype) if math.prod(shape) * dtype.itemsize <= _MAX_EXAMPLE_BYTES else None
