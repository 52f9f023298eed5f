"""Runs several calls as one: their rows are concatenated, and the outputs are divided again.

This is correct only if the signature computes every row separately. It is tested once, in the background: the signature
runs on rows of random numbers, together and one by one. Only stateless signatures with output rows of known sizes are
tested; all others run call by call. A common run is quicker only for some sizes, because a matrix product of one row
uses another kernel than one of a few rows. Measured times decide.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hangtag.protocol.dtypes import BY_NUMBER

from ..errors import ServingError
from ..models.servable import Servable

log = logging.getLogger("hangtag.serving")

_TRIAL_ROWS = 4
_SIZE_CLASSES = 64  # by the bit length of the number of rows: 1, 2-3, 4-7, 8-15, ...


class BatchTarget:
    """What calls must have in common to run together: version, signature, outputs, and the input's dtype and row shape.

    Thread-safe; a race can lose the measured time of a run.
    """

    def __init__(
        self,
        servable: Servable,
        signature: str,
        alias: str,
        outputs: Sequence[str],
        dtype: np.dtype,
        row_shape: tuple[int, ...],
    ) -> None:
        self.servable, self.signature, self.outputs = servable, signature, list(outputs)
        self._alias, self._dtype, self._row_shape = alias, dtype, row_shape
        self._seconds = [0.0] * _SIZE_CLASSES
        self._is_row_wise: bool | None = None
        self._trial = threading.Lock()  # never released, so that there is only one trial

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        """The outputs for one array; raises ServingError."""
        begun = time.perf_counter()
        results = self.servable.run(self.signature, {self._alias: array}, self.outputs)
        self._record_time(len(array).bit_length(), time.perf_counter() - begun)
        return results

    def run_together(self, arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]] | None:
        """The outputs of each array, from one run. None if that is impossible, not tested yet, or slower.

        The caller has acquired the version.
        """
        if self._is_row_wise is None and self._trial.acquire(blocking=False):
            self.servable.share()
            threading.Thread(target=self._try_in_background, name="row-wise", daemon=True).start()
        sizes = [len(array) for array in arrays]
        if not self._is_row_wise or not self._pays(sizes):
            return None
        try:
            return self._stacked(arrays, sizes)
        except ServingError:
            return None

    def expected_seconds(self, rows: int) -> float:
        """The expected time of a run of `rows` rows; 0 if there was no run of that size."""
        return self._seconds[rows.bit_length()]

    def is_row_wise(self) -> bool:
        """Whether each row of the outputs depends only on the same row of the input. It is tested once."""
        if self._is_row_wise is None:
            self._is_row_wise = self._can_be_tried() and self._try()
        return self._is_row_wise

    def _try_in_background(self) -> None:
        try:
            self.is_row_wise()
        except Exception:
            log.exception("cannot try whether calls of a signature can share a run")
            self._is_row_wise = False
        finally:
            self.servable.release()

    def _can_be_tried(self) -> bool:
        """Whether the trial is reliable: no state, output rows of known sizes, and a float output.

        Padding to the longest row, or an argmax, may give equal results for random numbers and different ones for
        others.
        """
        outputs = self.servable.signature(self.signature).outputs
        infos = [outputs[name] for name in self.outputs]
        return (
            self.servable.keeps_no_state(self.signature)
            and all(_is_fixed(info.tensor_shape) for info in infos)
            and any(info.dtype in BY_NUMBER and BY_NUMBER[info.dtype].numpy.kind == "f" for info in infos)
        )

    def _record_time(self, size_class: int, seconds: float) -> None:
        known = self._seconds[size_class]
        weight = 1 / 2 if seconds < known else 1 / 16  # first runs and disturbed ones are slow, and should count little
        self._seconds[size_class] = known + (seconds - known) * weight if known else seconds

    def _pays(self, sizes: Sequence[int]) -> bool:
        """Whether one run is expected to be quicker than one for each size. A new size is tried."""
        size_class = sum(sizes).bit_length()
        together = self._seconds[size_class]
        if not together or together < sum(self.expected_seconds(size) or together for size in sizes):
            return True
        self._seconds[size_class] = together * 0.99  # so that it is tried again later
        return False

    def _stacked(self, arrays: Sequence[np.ndarray], sizes: Sequence[int]) -> list[list[np.ndarray]] | None:
        results = self.run(np.concatenate(arrays))
        total = sum(sizes)
        if any(array.ndim == 0 or len(array) != total for array in results):
            return None
        parts, begin = [], 0
        for size in sizes:
            parts.append([array[begin : begin + size] for array in results])
            begin += size
        return parts

    def _try(self) -> bool:
        random = np.random.default_rng(0)
        shape = (_TRIAL_ROWS, *self._row_shape)
        if self._dtype.kind in "iu":
            array = random.integers(0, min(np.iinfo(self._dtype).max, 255), shape, endpoint=True).astype(self._dtype)
        elif self._dtype.kind == "f":
            array = random.random(shape).astype(self._dtype)
        elif self._dtype.kind == "b":
            array = random.random(shape) < 0.5
        else:
            return False
        rows = [array[row : row + 1] for row in range(_TRIAL_ROWS)]
        try:
            together = self._stacked(rows, [1] * _TRIAL_ROWS)
            alone = [self.run(row) for row in rows]
        except ServingError:
            return False
        if together is None:
            return False
        return all(
            _equal(a, b) for joint, own in zip(together, alone, strict=True) for a, b in zip(joint, own, strict=True)
        )


def _is_fixed(shape: Any) -> bool:
    """Whether all dimensions but the first are known."""
    return not shape.unknown_rank and len(shape.dim) > 0 and all(dim.size >= 0 for dim in shape.dim[1:])


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True))
    return bool((a == b).all())
