"""One try to load a version: read it, warm it up, note how that went."""

from __future__ import annotations

import time
from pathlib import Path

from .errors import ServingError
from .metrics import Metrics
from .options import ServerOptions
from .servable import Servable
from .warmup import warm_up


class Loader:
    """Loads versions as the flags say."""

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        self._options, self._metrics = options, metrics

    def __call__(self, name: str, version: int, folder: Path) -> Servable:
        """The version, ready to answer; raises ServingError."""
        begun = time.perf_counter()
        code = "success"
        try:
            servable = Servable(name, version, folder, self._options.load, self._metrics.runtime_latency)
        except ServingError:
            code = "fail"
            raise
        finally:
            self._metrics.load_attempts.add(str(folder), code)
            self._metrics.load_latency.add(str(folder), by=(time.perf_counter() - begun) * 1e6)
        if self._options.warmup:
            self._warm_up(servable, folder)
        return servable

    def _warm_up(self, servable: Servable, folder: Path) -> None:
        begun = time.perf_counter()
        code = "OK"
        try:
            count = warm_up(servable, folder, self._options.warmup_iterations)
        except ServingError as error:
            code = error.code
            servable.close()
            raise
        finally:
            seconds = time.perf_counter() - begun
            if code != "OK":
                self._metrics.warmup_latency.observe(seconds * 1e6, str(folder), code)
        if count:
            self._metrics.warmup_latency.observe(seconds * 1e6, str(folder), code)
            self._metrics.warmup_records.add(str(folder), by=count)
