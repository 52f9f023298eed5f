"""The body of a REST request: its JSON object, the signature that it names, and its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import invalid
from ..limits import DEFAULT, Budget, Limits
from . import inputs, parser
from .excerpts import excerpt
from .inputs import Spec
from .parser import MISSING, Object


class Request:
    """The body of :predict. `signature_name` is "" if the body names none. Raises ServingError for a bad body."""

    def __init__(self, body: bytes, max_depth: int, limits: Limits = DEFAULT) -> None:
        self.budget = Budget(limits)
        """The memory that is left for the request's arrays and its response."""
        self._document, self.signature_name = parse_document(body, max_depth, self.budget)

    def inputs(self, specs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
        """The input arrays by name, and whether they came in row form."""
        return inputs.read_inputs(self._document, specs, self.budget)


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
