"""One body of :predict, the usual ones read by `json_fast` and the others value by value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import invalid
from ..fast.json_numbers import read_numbers
from ..fast.json_templates import Reader
from . import inputs, parser
from .excerpts import excerpt
from .inputs import Spec
from .parser import MISSING, Object


class Request:
    """`signature_name` is empty when the body names none. Raises ServingError if it is no JSON object."""

    def __init__(self, body: bytes, reader: Reader, max_depth: int) -> None:
        self._body, self._max_depth = body, max_depth
        self._numbers = reader.read(body)
        self._document: Object | None = None
        self.signature_name = self._numbers.signature_name if self._numbers else self._read_slowly()

    def inputs(self, specs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
        """The input arrays by name, and whether they came in row form."""
        if self._numbers is not None and len(specs) == 1:
            ((name, spec),) = specs.items()
            array = read_numbers(self._numbers.text, spec.dtype, self._max_depth)
            if array is not None:
                return {name: array}, self._numbers.as_rows
        if self._document is None:
            self._read_slowly()
        assert self._document is not None  # noqa: S101 - _read_slowly sets it
        return inputs.read_inputs(self._document, specs)

    def _read_slowly(self) -> str:
        document = parser.parse(self._body, self._max_depth)
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
        return name.decode("utf-8", "replace")
