"""Examines a running server, embedded or C++, by calling it as a client."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from hangtag import Client, HangtagError
from hangtag.config.target import parse_target
from hangtag.contract import SERVING_DEFAULT
from hangtag.errors import from_status
from hangtag.model import ModelMetadata, ModelSpec
from hangtag.protocol import grpc_codec, protobuf

from . import FAIL, OK, WARN, Finding

_AT_ONCE = 32  # calls; the C++ server's default is four threads for each core
_TIMED = 21
_SECONDS = 30.0  # for one call
_LARGE = 5 << 20  # bytes; more than the 4 MiB that many proxies and clients allow
_TENSOR_CONTENT = 4  # field of TensorProto


def examine_server(target: str, model: str) -> Iterator[Finding]:
    """Examine readiness, versions and class names; then send many calls at once, a large one, and several in turn."""
    with Client(target, model=model, retries=0, timeout=_SECONDS) as client:
        try:
            metadata = client.metadata()
        except HangtagError as error:
            fix = "start it; `hangtag status` shows why no version is available; --model selects another model"
            yield Finding(FAIL, "not-ready", target, str(error), fix)
            return
        yield Finding(OK, "answers", target, f"{model} version {metadata.version} answers")
        for status in client.status():
            if status.error_code != "OK":
                message = f"version {status.version} did not load: {' '.join(status.error_message.split())}"
                yield Finding(WARN, "load-failed", target, message, "run hangtag doctor on its base path")
        yield from _examine_class_names(client, target)
        inputs = _small_input(metadata)
        if inputs is None:
            message = f"{SERVING_DEFAULT} does not take a single array of images: not tested with requests"
            yield Finding(WARN, "not-tested", target, message)
            return
        with _single_calls(client, target, model, inputs) as call:
            yield from _examine_load(client, target, inputs, call)


def _examine_class_names(client: Client, target: str) -> Iterator[Finding]:
    try:
        names = client.labels()
    except HangtagError as error:
        yield Finding(WARN, "class-names", target, f"class names: {error}", "pass labels=[…] to the client")
        return
    if len(set(names)) < len(names):
        fix = "publish it again with distinct class names"
        yield Finding(WARN, "class-names", target, "two classes have the same name", fix)
    yield Finding(OK, "class-names", target, f"{len(names)} class names, from {names[0]} to {names[-1]}")


def _small_input(metadata: ModelMetadata) -> tuple[str, np.ndarray] | None:
    """One row of zeros for the input of serving_default, by its name."""
    signature = metadata.signatures.get(SERVING_DEFAULT)
    if signature is None or len(signature.inputs) != 1:
        return None
    (name, spec), *_ = signature.inputs.items()
    dtype = {"DT_UINT8": np.uint8, "DT_FLOAT": np.float32}.get(spec.dtype)
    if dtype is None or spec.shape is None or len(spec.shape) < 2 or spec.shape[0] is not None:
        return None
    return name, np.zeros((1, *(size or 1 for size in spec.shape[1:])), dtype)


Call = Callable[[], bytes]
"""Sends one row without retries; returns the body of the response, or raises HangtagError."""


@contextmanager
def _single_calls(client: Client, address: str, model: str, inputs: tuple[str, np.ndarray]) -> Iterator[Call]:
    """Calls without retries, because the SDK's retries would hide that the server is overloaded."""
    target = parse_target(address)
    if target.protocol != "grpc" or target.secure:

        def by_client() -> bytes:
            client.predict(dict([inputs]), signature=SERVING_DEFAULT)
            return b""

        yield by_client
        return
    import grpc

    from hangtag.transports.grpc import channel_options

    body = grpc_codec.predict_request(ModelSpec(model, signature=SERVING_DEFAULT), dict([inputs]))
    with grpc.insecure_channel(target.address, channel_options(target)) as channel:
        send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        def call() -> bytes:
            try:
                return bytes(send(body, timeout=_SECONDS))
            except grpc.RpcError as error:
                raise from_status(error.code().name, error.details() or "no text", address) from error

        yield call


def _examine_answers(target: str, body: bytes) -> Iterator[Finding]:
    """Find out from a gRPC response whether --enable_serialization_as_tensor_content is on."""
    for field, _, value in protobuf.fields(memoryview(body)):
        if field == 1:
            _, tensor = protobuf.map_entry(value)
            if any(number == _TENSOR_CONTENT for number, _, _ in protobuf.fields(tensor)):
                message = (
                    "runs with --enable_serialization_as_tensor_content: REST responses of the C++ server then contain "
                    "process memory, and a string output over REST crashes it"
                )
                yield Finding(FAIL, "tensor-content", target, message, "remove the flag and restart it")
                return


def _examine_load(client: Client, target: str, inputs: tuple[str, np.ndarray], call: Call) -> Iterator[Finding]:
    def error_of(_: int) -> str:
        try:
            call()
        except HangtagError as error:
            return str(error)
        return ""

    try:
        yield from _examine_answers(target, call())
    except HangtagError as error:
        fix = "run hangtag doctor on its base path"
        yield Finding(FAIL, "request-fails", target, f"a request of one row fails: {error}", fix)
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        errors = [error for error in threads.map(error_of, range(4 * _AT_ONCE)) if error]
    if errors:
        message = f"{len(errors)} of {4 * _AT_ONCE} calls failed with {_AT_ONCE} at once: {errors[0]}"
        fix = "raise --grpc_max_threads (the default is 4 per core); the SDK sends these again"
        yield Finding(WARN, "refuses-load", target, message, fix)
    name, row = inputs
    rows = max(1, _LARGE // row.nbytes)
    try:
        client.predict({name: np.repeat(row, rows, axis=0)}, signature=SERVING_DEFAULT)
    except HangtagError as error:
        message = f"a request of {_LARGE >> 20} MiB is refused: {error}"
        fix = "raise the limit of the proxy; the SDK's own requests stay under 2 MiB"
        yield Finding(WARN, "request-size", target, message, fix)
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        error_of(0)
        times.append(time.perf_counter() - start)
    message = f"one image at a time: p50 {1e3 * statistics.median(times):.2f} ms over {_TIMED} calls"
    yield Finding(OK, "latency", target, message)
