"""What is noted of every request: metrics, and a line in the access log if one was asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from .metrics import Metrics
from .servable import Servable

_MODELS_KNOWN = 1000  # names beyond this are counted as one: strangers choose them


class Recorder:
    """Called once when a request, or several that ran as one, have been answered."""

    def __init__(self, metrics: Metrics, *, access_log: bool = False, stream: TextIO | None = None) -> None:
        self.metrics = metrics
        self._log = (stream or sys.stdout) if access_log else None
        self._names: set[str] = set()

    def answered(
        self,
        *,
        model: str,
        api: str,
        door: str,
        code: str,
        begun: float,
        servable: Servable | None = None,
        signature: str = "",
        sizes: Sequence[int] = (0,),
    ) -> None:
        """`door` is GRPC or REST, `begun` a time.perf_counter(), `sizes` the bodies' in bytes: one for each request.

        `servable` is the version that answered, None if the request did not get so far.
        """
        count = len(sizes)
        seconds = time.perf_counter() - begun
        name = self._bounded(model)
        self.metrics.request_count.add(name, code, by=count)
        if code == "OK":
            self.metrics.request_latency.observe(seconds * 1e6, name, api, door, times=count)
        if servable is not None:
            self.metrics.version_requests.add(
                servable.name, str(servable.version), signature or "serving_default", by=count
            )
        if self._log is not None:
            for size in sizes:
                self._write(self._log, model, api, door, code, seconds, servable, signature, size)

    def _bounded(self, model: str) -> str:
        if model not in self._names:
            if len(self._names) >= _MODELS_KNOWN:
                return "(other)"
            self._names.add(model)
        return model

    def _write(
        self,
        log: TextIO,
        model: str,
        api: str,
        door: str,
        code: str,
        seconds: float,
        servable: Servable | None,
        signature: str,
        size: int,
    ) -> None:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() % 1 * 1000):03d}Z",
            "door": door,
            "api": api,
            "model": model,
            "version": servable.version if servable else None,
            "signature": signature or "serving_default",
            "code": code,
            "bytes": size,
            "ms": round(seconds * 1000, 3),
        }
        log.write(json.dumps(entry, ensure_ascii=False) + "\n")  # one write: lines of other threads stay apart
        log.flush()
