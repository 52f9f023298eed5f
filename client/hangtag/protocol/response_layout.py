"""Answers that differ only in their numbers: read once, recognized afterwards.

A version of a model answers every batch of one size with the same bytes around the numbers: names, dtype, shape,
version. Bytes that equal those of an answer read before mean the same, so only the numbers are looked at: a tenth of
the time, which shows on a call that takes a third of a millisecond.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model import Reply
from .tensors import place_in

_KNOWN = 256  # sizes of answers that are remembered
_AROUND = 512  # bytes around the numbers that are worth remembering


class Layout(NamedTuple):
    """The bytes before and after the numbers of the only output, and what they say."""

    before: bytes
    after: bytes
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    version: int | None


_layouts: dict[int, Layout] = {}


def recognize(body: bytes) -> Reply | None:
    """What `body` says, if it looks like an answer that `remember` was given."""
    layout = _layouts.get(len(body))
    if layout is None or not (body.startswith(layout.before) and body.endswith(layout.after)):
        return None
    array: np.ndarray = np.ndarray(layout.shape, layout.dtype, body, len(layout.before))
    return Reply({layout.name: array}, layout.version)


def remember(body: bytes, reply: Reply) -> None:
    """Keep the layout of an answer, if its only output is a view of the body."""
    if len(reply.outputs) != 1:
        return
    ((name, array),) = reply.outputs.items()
    start = place_in(body, array) if array.nbytes and array.dtype != object else -1
    after = len(body) - start - array.nbytes
    if start < 0 or after < 0 or start + after > _AROUND:
        return
    if len(_layouts) >= _KNOWN:
        _layouts.clear()
    _layouts[len(body)] = Layout(
        body[:start], body[start + array.nbytes :], name, array.dtype, array.shape, reply.version
    )
