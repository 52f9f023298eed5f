"""How a request fails: a canonical status code and the words for the caller."""

from __future__ import annotations

INTERNAL = "internal error; the server's log has the reason"
"""What a caller gets to know of a failure that is no refusal."""


class ServingError(Exception):
    """A refusal in TensorFlow Serving's words; `code` is a name in hangtag.errors.CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """INVALID_ARGUMENT, the commonest."""
    return ServingError("INVALID_ARGUMENT", message)
