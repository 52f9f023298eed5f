"""Records every request: in the metrics, and with --access_log as a line of the access log."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from .errors import ServingError
from .metrics import Metrics
from .models.servable import Servable

log = logging.getLogger("hangtag.serving")

_MAX_NAMES = 1000  # model names counted on their own; clients may invent names, so the rest is counted as one
_MAX_NAME_LENGTH = 200
_MAX_LINES = 10_000  # lines that wait to be written
_CLOSING_SECONDS = 1.0


class Recorder:
    """Records requests that were answered, alone or several that ran together."""

    def __init__(self, metrics: Metrics, *, access_log: bool = False, stream: TextIO | None = None) -> None:
        self.metrics = metrics
        self._log = AccessLog(stream or sys.stdout) if access_log else None
        self._names: set[str] = set()

    def note(self, api: str, entrypoint: str, size: int, model: str = "") -> Note:
        """A context manager that records one request; its fields are filled in as they become known."""
        return Note(self, api, entrypoint, size, model)

    def answered(
        self,
        *,
        model: str,
        api: str,
        entrypoint: str,
        code: str,
        begun: float,
        servable: Servable | None = None,
        signature: str = "",
        sizes: Sequence[int] = (0,),
    ) -> None:
        """Record one request for each of `sizes`, the bytes of their bodies.

        `entrypoint` is GRPC or REST, `begun` the time.perf_counter() at their start. `servable` is the version that
        answered, None if the request failed earlier.
        """
        count = len(sizes)
        seconds = time.perf_counter() - begun
        name = servable.name if servable is not None else self._bounded(model)
        self.metrics.request_count.add(name, code, by=count)
        if code == "OK":
            self.metrics.request_latency.observe(seconds * 1e6, name, api, entrypoint, times=count)
        if servable is not None:
            used = signature or "serving_default"
            known = used if used in servable.signatures else "(unknown)"  # clients may invent signatures, too
            self.metrics.version_requests.add(servable.name, str(servable.version), known, by=count)
        if self._log is not None:
            now = time.time()
            entry = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z",
                "door": entrypoint,
                "api": api,
                "model": name,
                "version": servable.version if servable else None,
                "signature": (signature or "serving_default")[:_MAX_NAME_LENGTH],
                "code": code,
                "ms": round(seconds * 1000, 3),
            }
            for size in sizes:
                self._log.write(entry | {"bytes": size})

    def close(self) -> None:
        """Write the remaining lines of the access log."""
        if self._log is not None:
            self._log.close()

    def _bounded(self, model: str) -> str:
        if model not in self._names:
            if len(model) > _MAX_NAME_LENGTH or len(self._names) >= _MAX_NAMES:
                return "(other)"
            self._names.add(model)
        return model


class AccessLog:
    """Writes lines of JSON in its own thread, so that a slow or closed reader never stops the server."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_MAX_LINES)
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def write(self, entry: Mapping[str, object]) -> None:
        """Write a line, or drop it if too many wait. It is ASCII, which every stream can encode."""
        try:
            self._lines.put_nowait(json.dumps(entry) + "\n")
        except queue.Full:
            if not self._dropping:
                log.error("the access log is not read fast enough: lines are dropped")
            self._dropping = True

    def close(self) -> None:
        """Write the waiting lines, for at most a second."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(_CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
                    self._dropping = False
            self._stream.flush()
        except (OSError, ValueError) as error:  # the reader is closed; requests are still answered
            log.error("the access log cannot be written any more: %s", error)
            while self._lines.get() is not None:
                pass


@dataclass(slots=True)
class Note:
    """A running request. It is recorded at the end of its block, with the error that ended the block, if any."""

    recorder: Recorder
    api: str
    entrypoint: str
    size: int
    model: str
    signature: str = ""
    servable: Servable | None = None
    begun: float = 0.0

    def __enter__(self) -> Self:
        self.begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        code = "OK" if error is None else error.code if isinstance(error, ServingError) else "INTERNAL"
        self.recorder.answered(
            model=self.model,
            api=self.api,
            entrypoint=self.entrypoint,
            code=code,
            begun=self.begun,
            servable=self.servable,
            signature=self.signature,
            sizes=(self.size,),
        )
