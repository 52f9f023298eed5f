"""Examine a running server, this one or the C++ server, as a client sees it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hangtag import Client, HangtagError
from hangtag.model import ModelMetadata

from .findings import FAIL, OK, WARN, Finding

_CROWD = 32  # calls at once; the C++ server's default is four threads a core
_TIMED = 21
_LARGE = 5 << 20  # bytes; more than the 4 MiB that many a proxy and client stop at


def examine_server(target: str, model: str) -> Iterator[Finding]:
    """Ready, versions, class names, then how it stands many calls, a large one, and one after the other."""
    with Client(target, model=model, retries=0, timeout=30) as client:
        try:
            metadata = client.metadata()
        except HangtagError as error:
            yield Finding(FAIL, target, str(error), "start it, or see `hangtag status` for why no version is available")
            return
        yield Finding(OK, target, f"{model} version {metadata.version} answers")
        for status in client.status():
            if status.error_code != "OK":
                words = f"version {status.version} did not load: {' '.join(status.error_message.split())}"
                yield Finding(WARN, target, words, "hangtag doctor on its base path says more")
        yield from _examine_names(client, target)
        inputs = _small_input(metadata)
        if inputs is None:
            yield Finding(WARN, target, "serving_default takes no single array of images: not tried under load")
            return
        yield from _examine_load(client, target, inputs)


def _examine_names(client: Client, target: str) -> Iterator[Finding]:
    try:
        names = client.labels()
    except HangtagError as error:
        yield Finding(WARN, target, f"class names: {error}", "pass labels=[…] to the client")
        return
    if len(set(names)) < len(names):
        yield Finding(WARN, target, "two classes have the same name", "export it again with distinct folder names")
    yield Finding(OK, target, f"{len(names)} class names, from {names[0]} to {names[-1]}")


def _small_input(metadata: ModelMetadata) -> tuple[str, np.ndarray] | None:
    """One row of zeros for serving_default."""
    signature = metadata.signatures.get("serving_default")
    if signature is None or len(signature.inputs) != 1:
        return None
    (name, spec), *_ = signature.inputs.items()
    dtype = {"DT_UINT8": np.uint8, "DT_FLOAT": np.float32}.get(spec.dtype)
    if dtype is None or spec.shape is None or len(spec.shape) < 2 or spec.shape[0] is not None:
        return None
    return name, np.zeros((1, *(size or 1 for size in spec.shape[1:])), dtype)


def _examine_load(client: Client, target: str, inputs: tuple[str, np.ndarray]) -> Iterator[Finding]:
    name, row = inputs

    def call(_: int = 0) -> str:
        try:
            client.predict({name: row}, signature="serving_default")
        except HangtagError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(_CROWD) as crowd:
        errors = [error for error in crowd.map(call, range(4 * _CROWD)) if error]
    if errors:
        words = f"{len(errors)} of {4 * _CROWD} calls failed with {_CROWD} at once: {errors[0]}"
        yield Finding(
            WARN, target, words, "raise --grpc_max_threads (the default is 4 a core); the SDK tries these again"
        )
    rows = max(1, _LARGE // row.nbytes)
    try:
        client.predict({name: np.repeat(row, rows, axis=0)}, signature="serving_default")
    except HangtagError as error:
        words = f"a request of {_LARGE >> 20} MiB is refused: {error}"
        yield Finding(
            WARN, target, words, "raise the limit of the proxy before it; the SDK stays under 2 MiB by itself"
        )
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    yield Finding(OK, target, f"one image at a time: p50 {1e3 * statistics.median(times):.2f} ms over {_TIMED} calls")
