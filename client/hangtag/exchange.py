"""One request, ready to be sent, with the function that reads its answer: what dialects make and transports carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from .errors import BadResponse

T = TypeVar("T")

# What malformed bytes raise on their way through the readers. WireError and JSON's own errors are ValueErrors;
# RecursionError is json's, of a document of ten thousand brackets.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Exchange(NamedTuple, Generic[T]):
    """`verb` and `path` are HTTP's; for gRPC the path is the full method name. `read` turns the body into a value."""

    verb: str
    path: str
    body: bytes
    read: Callable[[bytes], T]

    def answer(self, body: bytes) -> T:
        """What `body` says. Whatever is wrong with it becomes BadResponse."""
        try:
            return self.read(body)
        except _UNREADABLE as error:
            raise BadResponse(f"the answer to {self.path} cannot be read: {error or type(error).__name__}") from error
