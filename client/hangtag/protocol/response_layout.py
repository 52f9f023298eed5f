"""A cache for decoding responses that differ only in their numbers.

For batches of one size, a version of a model sends the same bytes around the numbers: names, dtype, shape and version.
If these bytes equal those of an earlier response, only the numbers are read. This saves about 4 % of a call for one
image (benchmarks/caches.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model import Reply
from .tensors import place_in

_MAX_LAYOUTS = 256  # one for each size of a response
_MAX_AROUND = 512  # bytes around the numbers


class Layout(NamedTuple):
    """The bytes before and after the numbers of a single output, and what they say."""

    before: bytes
    after: bytes
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    version: int | None


_layouts: dict[int, Layout] = {}


def recognize(body: bytes) -> Reply | None:
    """The reply in `body`, if its layout was stored by `remember`."""
    layout = _layouts.get(len(body))
    if layout is None or not (body.startswith(layout.before) and body.endswith(layout.after)):
        return None
    array: np.ndarray = np.ndarray(layout.shape, layout.dtype, body, len(layout.before))
    return Reply({layout.name: array}, layout.version)


def remember(body: bytes, reply: Reply) -> None:
    """Store the layout of a response, if its only output is a view of the body."""
    if len(reply.outputs) != 1:
        return
    ((name, array),) = reply.outputs.items()
    start = place_in(body, array) if array.nbytes and array.dtype != object else -1
    after = len(body) - start - array.nbytes
    if start < 0 or after < 0 or start + after > _MAX_AROUND:
        return
    if len(_layouts) >= _MAX_LAYOUTS:
        _layouts.clear()
    _layouts[len(body)] = Layout(
        body[:start], body[start + array.nbytes :], name, array.dtype, array.shape, reply.version
    )
