"""Several calls as one run: their rows stacked, and the outputs cut apart again.

That gives each call what it would have got alone only if the signature treats every row by itself. `is_row_wise` finds
out by running it, once for each signature and input shape, on rows of random numbers together and one by one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from .errors import ServingError
from .grpc_service import Call
from .servable import Servable

_TRIAL_ROWS = 4
_SIZES = 64  # powers of two

Key = tuple[object, ...]


def key_of(servable: Servable, call: Call) -> Key | None:
    """Calls of equal key may run together; None is for those that run alone."""
    rows = rows_of(call)
    if rows is None:
        return None
    shapes = tuple((alias, array.dtype.str, array.shape[1:]) for alias, array in sorted(call.inputs.items()))
    return (id(servable), call.signature, tuple(call.outputs), shapes)


def rows_of(call: Call) -> int | None:
    """The common first dimension of the inputs, None if there is none."""
    sizes = {array.shape[0] if array.ndim else None for array in call.inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None


def run_together(servable: Servable, calls: Sequence[Call], key: Key | None = None) -> list[list[np.ndarray]] | None:
    """The outputs of each call, from one run; None if the outputs do not come row by row."""
    first = calls[0]
    sizes = [rows_of(call) or 0 for call in calls]
    inputs = {alias: np.concatenate([call.inputs[alias] for call in calls]) for alias in first.inputs}
    arrays = timed_run(servable, Call(first.signature, inputs, first.outputs), key)
    total = sum(sizes)
    if any(array.ndim == 0 or len(array) != total for array in arrays):
        return None
    ends = np.cumsum(sizes).tolist()
    return [[array[end - size : end] for array in arrays] for size, end in zip(sizes, ends, strict=True)]


def pays(servable: Servable, key: Key, sizes: Sequence[int]) -> bool:
    """Whether one run of so many rows is expected to be quicker than one run for each size.

    It often is not: a matrix product with one row is another, quicker kernel than one with a few. What runs took is
    noted by `timed_run`; a size that was never seen is worth a try.
    """
    costs = servable.costs.get(key)
    if costs is None:
        return True
    together = costs[sum(sizes).bit_length()]
    apart = sum(costs[size.bit_length()] or together for size in sizes)
    return not together or together < apart


def timed_run(servable: Servable, call: Call, key: Key | None) -> list[np.ndarray]:
    """Run a call and note how long so many rows took."""
    if key is None:
        return servable.run(*call)
    begun = time.perf_counter()
    arrays = servable.run(*call)
    costs = servable.costs.setdefault(key, [0.0] * _SIZES)
    place = min((rows_of(call) or 0).bit_length(), _SIZES - 1)
    seconds = time.perf_counter() - begun
    costs[place] += (seconds - costs[place]) / 16 if costs[place] else seconds
    return arrays


def is_row_wise(servable: Servable, call: Call, key: Key) -> bool:
    """Whether rows of this signature do not touch each other; tried once, then remembered."""
    known = servable.row_wise.get(key)
    if known is None:
        known = servable.row_wise[key] = _try(servable, call)
    return known


def _try(servable: Servable, call: Call) -> bool:
    random = np.random.default_rng(0)
    inputs = {}
    for alias, array in call.inputs.items():
        shape = (_TRIAL_ROWS, *array.shape[1:])
        if array.dtype.kind in "iu":
            inputs[alias] = random.integers(0, min(np.iinfo(array.dtype).max, 255), shape, endpoint=True).astype(
                array.dtype
            )
        elif array.dtype.kind == "f":
            inputs[alias] = random.random(shape).astype(array.dtype)
        elif array.dtype.kind == "b":
            inputs[alias] = random.random(shape) < 0.5
        else:
            return False
    singly = [
        Call(call.signature, {alias: array[row : row + 1] for alias, array in inputs.items()}, call.outputs)
        for row in range(_TRIAL_ROWS)
    ]
    try:
        together = run_together(servable, singly)
        alone = [servable.run(*one) for one in singly]
    except ServingError:
        return False
    if together is None:
        return False
    return all(
        _equal(a, b) for joint, own in zip(together, alone, strict=True) for a, b in zip(joint, own, strict=True)
    )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True))
    return bool((a == b).all())
