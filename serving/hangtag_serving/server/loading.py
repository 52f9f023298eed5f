"""Loads one version: reads it, warms it up, and records metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hangtag.errors import InvalidInput

from ..api.warmup import warm_up
from ..batching.parameters import BatchingOptions, read_batching
from ..batching.scheduler import BatchScheduler
from ..errors import ServingError, invalid
from ..metrics import Metrics
from ..models.saved_model import has_graph
from ..models.servable import Batched, Run, Servable
from .options import ServerOptions


class Loader:
    """Loads versions with the server's options."""

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        self._options, self._metrics = options, metrics
        self._scheduler: BatchScheduler | None = None
        if options.batching is not None:
            self._scheduler = BatchScheduler(options.batching.num_batch_threads, metrics)

    def __call__(self, name: str, version: int, folder: Path) -> Servable:
        """The loaded version, ready for requests; raises ServingError."""
        begun = time.perf_counter()
        code = "fail"
        try:
            options, latency = self._options, self._metrics.runtime_latency
            servable = Servable(name, version, folder, options.load, latency, options.limits)
            code = "success"
        finally:
            if has_graph(folder):
                self._metrics.load_attempts.add(str(folder), code)
                self._metrics.load_latency.add(str(folder), by=(time.perf_counter() - begun) * 1e6)
        try:
            if self._options.warmup:
                self._warm_up(servable, folder)
            if self._scheduler is not None:
                servable.batched = self._batched(servable, folder, self._scheduler)
        except Exception:
            servable.close()
            raise
        return servable

    def _batched(self, servable: Servable, folder: Path, scheduler: BatchScheduler) -> Batched | None:
        options = self._options.batching or BatchingOptions()
        if self._options.per_model_batching:
            own = folder / "batching_params.pbtxt"
            if not own.is_file():
                return None  # as in C++: without its own file, this version does not batch
            try:
                options = read_batching(own)
            except InvalidInput as error:
                raise invalid(str(error)) from error

        def batched(key: tuple[str, ...], run: Run, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return scheduler.run(servable.name, (servable.version, key), options, run, inputs)

        return batched

    def _warm_up(self, servable: Servable, folder: Path) -> None:
        begun = time.perf_counter()
        code, count = "INTERNAL", 0
        try:
            count = warm_up(servable, folder, self._options.warmup_iterations)
            code = "OK"
        except ServingError as error:
            code = error.code
            raise
        finally:
            if count or code != "OK":
                self._metrics.warmup_latency.observe((time.perf_counter() - begun) * 1e6, str(folder), code)
        if count:
            self._metrics.warmup_records.add(str(folder), by=count)
