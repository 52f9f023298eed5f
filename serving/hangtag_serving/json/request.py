"""One body of :predict, parsed value by value."""

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
    """`signature_name` is empty when the body names none. Raises ServingError if it is no JSON object."""

    def __init__(self, body: bytes, max_depth: int, limits: Limits = DEFAULT) -> None:
        self.budget = Budget(limits)
        """What is left for the request's arrays and its response."""
        document = parser.parse(body, max_depth, self.budget)
        if not isinstance(document, Object):
            raise invalid(f"JSON Value: {excerpt(document)} Is not object")
        name = document.find(b"signature_name")
        if name is MISSING:
            name = b""
        if not isinstance(name, bytes):
            raise invalid(
                f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
            )
        self._document = document
        self.signature_name = name.decode("utf-8", "replace")

    def inputs(self, specs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
        """The input arrays by name, and whether they came in row form."""
        return inputs.read_inputs(self._document, specs, self.budget)
