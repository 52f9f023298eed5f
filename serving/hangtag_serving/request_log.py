"""What is noted of every request: metrics, and a line in the access log if one was asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from .errors import ServingError
from .metrics import Metrics
from .models.servable import Servable

log = logging.getLogger("hangtag.serving")

_MODELS_KNOWN = 1000  # names beyond this are counted as one: strangers choose them


class Recorder:
    """Called once when a request, or several that ran as one, have been answered."""

    def __init__(self, metrics: Metrics, *, access_log: bool = False, stream: TextIO | None = None) -> None:
        self.metrics = metrics
        self._log = (stream or sys.stdout) if access_log else None
        self._names: set[str] = set()

    def note(self, api: str, door: str, size: int, model: str = "") -> Note:
        """For the time that a request takes: ``with recorder.note(…) as note``, and fill in what comes to light."""
        return Note(self, api, door, size, model)

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
            name = signature or "serving_default"
            known = name if name in servable.signatures else "(unknown)"  # strangers choose these, too
            self.metrics.version_requests.add(servable.name, str(servable.version), known, by=count)
        if self._log is not None:
            try:
                for size in sizes:
                    self._write(self._log, model, api, door, code, seconds, servable, signature, size)
            except (OSError, ValueError) as error:  # whoever read it has gone: requests are answered all the same
                self._log = None
                log.error("the access log cannot be written and ends here: %s", error)

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


@dataclass(slots=True)
class Note:
    """A request that is being answered; the error that ends the block, if any, says how it went."""

    recorder: Recorder
    api: str
    door: str
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
            door=self.door,
            code=code,
            begun=self.begun,
            servable=self.servable,
            signature=self.signature,
            sizes=(self.size,),
        )
