"""The usual predict request, read without a Python object per number: one array of numbers for a one-input signature.

What stands around the array is the same from request to request, so it is read once and then compared; `json_numbers`
parses the array itself. Whatever is unusual or wrong is left to `json_inputs`, which also makes the error texts.
"""

from __future__ import annotations

from typing import NamedTuple

import simdjson

from .bounded_cache import keep

_MAX_FRAME = 512  # bytes before and after the array
_MAX_FRAMES = 256


class _Frame(NamedTuple):
    """What stands around the array: ``instances`` or ``inputs``, and the signature."""

    as_rows: bool
    signature_name: str


class Numbers(NamedTuple):
    """The array of one request, not parsed yet. `signature_name` is empty when it names none."""

    as_rows: bool
    signature_name: str
    text: memoryview


class Reader:
    """Reads bodies; may be used by several threads."""

    def __init__(self) -> None:
        self._frames: dict[tuple[bytes, bytes], _Frame] = {}

    def read(self, body: bytes) -> Numbers | None:
        """The numbers of a usual request, None for any other."""
        start, end = body.find(b"["), body.rfind(b"]") + 1
        if not 0 <= start < end or start + len(body) - end > _MAX_FRAME:
            return None
        around = body[:start], body[end:]
        frame = self._frames.get(around)
        if frame is None:
            frame = _read_frame(b"[0]".join(around))
            if frame is None:
                return None
            keep(self._frames, around, frame, _MAX_FRAMES)
        return Numbers(*frame, memoryview(body)[start:end])


def _read_frame(text: bytes) -> _Frame | None:
    """What a document means that has [0] for its array."""
    try:
        document = simdjson.Parser().parse(text)
    except (ValueError, RuntimeError):
        return None
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    if len(keys) > 2 or ("instances" in keys) == ("inputs" in keys):
        return None
    key = "instances" if "instances" in keys else "inputs"
    name = document["signature_name"] if "signature_name" in keys else ""
    if not isinstance(name, str) or len(keys) != (2 if name else 1):
        return None
    values = document[key]
    if not isinstance(values, simdjson.Array) or values.as_list() != [0]:
        return None
    return _Frame(key == "instances", name)
