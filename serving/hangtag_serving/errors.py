"""The error of a request: a canonical status code and a text for the caller."""

from __future__ import annotations

INTERNAL = "internal error; the server's log has the reason"
"""The caller's text for an unexpected failure; the log has the traceback."""


class ServingError(Exception):
    """A refusal with TensorFlow Serving's text; `code` is a name in hangtag.errors.CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """A refusal with the most common code, INVALID_ARGUMENT."""
    return ServingError("INVALID_ARGUMENT", message)
