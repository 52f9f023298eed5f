"""REST predict requests without parsing all of them: one array of numbers for a signature of one input.

The bytes around the array are the same from request to request, so they are parsed once and then compared;
`json_numbers` parses the array itself. All other requests, and all wrong ones, are left to `hangtag_serving.json`.
"""

from __future__ import annotations

from typing import NamedTuple

import simdjson

from .bounded_cache import put

_MAX_AROUND = 512  # bytes before and after the array
_MAX_TEMPLATES = 256


class _Template(NamedTuple):
    """What the bytes around the array mean: ``instances`` or ``inputs``, and the signature."""

    as_rows: bool
    signature_name: str


class JsonArray(NamedTuple):
    """The array of one request, not parsed yet. `signature_name` is empty when the request names none.

    Only if all of `text` is one JSON list has the request been read completely: `json_numbers` checks that.
    """

    as_rows: bool
    signature_name: str
    text: memoryview


class JsonTemplates:
    """Finds the array in bodies. Safe in several threads."""

    def __init__(self) -> None:
        self._templates: dict[tuple[bytes, bytes], _Template] = {}

    def match(self, body: bytes) -> JsonArray | None:
        """The array of a request, None if it is of another form."""
        start, end = body.find(b"["), body.rfind(b"]") + 1
        if not 0 <= start < end or start + len(body) - end > _MAX_AROUND:
            return None
        around = body[:start], body[end:]
        template = self._templates.get(around)
        if template is None:
            template = _parse_template(b"[0]".join(around))
            if template is None:
                return None
            put(self._templates, around, template, _MAX_TEMPLATES)
        return JsonArray(*template, memoryview(body)[start:end])


def _parse_template(text: bytes) -> _Template | None:
    """What a document means whose array is [0]."""
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
    return _Template(key == "instances", name)
