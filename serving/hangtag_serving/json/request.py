"""The JSON object of a REST request, and the signature that it names."""

from __future__ import annotations

from ..errors import invalid
from ..limits import Budget
from . import parser
from .excerpts import excerpt
from .parser import MISSING, Object


def parse_document(body: bytes, max_depth: int, budget: Budget) -> tuple[Object, str]:
    """The JSON object of a request and the signature that it names, "" if none; raises ServingError."""
    document = parser.parse(body, max_depth, budget)
    if not isinstance(document, Object):
        raise invalid(f"JSON Value: {excerpt(document)} Is not object")
    name = document.find(b"signature_name")
    if name is MISSING:
        name = b""
    if not isinstance(name, bytes):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document, name.decode("utf-8", "replace")
