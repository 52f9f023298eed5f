"""One request, ready to be sent, with the function that reads its answer: what dialects make and transports carry.

Around it, what a conversation asks its client to do: one exchange, or several calls side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import BadResponse

T = TypeVar("T")

# What malformed bytes raise on their way through the readers. WireError and JSON's own errors are ValueErrors;
# RecursionError is json's, of a document of ten thousand brackets.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Exchange(NamedTuple, Generic[T]):
    """`verb` and `path` are HTTP's; for gRPC the path is the full method name. `read` turns the body into a value."""

    verb: str
    path: str
    body: bytes | bytearray
    read: Callable[[bytes], T]

    def answer(self, body: bytes) -> T:
        """What `body` says. Whatever is wrong with it becomes BadResponse."""
        try:
            return self.read(body)
        except _UNREADABLE as error:
            raise BadResponse(f"the answer to {self.path} cannot be read: {error or type(error).__name__}") from error


class Call(NamedTuple, Generic[T]):
    """An exchange that is made only when it is sent, so that a long list of them holds no bodies.

    `images` are the positions, in the caller's input, of the images it carries.
    """

    make: Callable[[], Exchange[T]]
    images: range


class SideBySide(NamedTuple, Generic[T]):
    """Calls to be sent several at a time; their answers are wanted in order. `tick` is told the images of each."""

    calls: Sequence[Call[T]]
    tick: Callable[[int], None] | None = None


Step = Exchange[Any] | SideBySide[Any]
Flow = Generator[Step, Any, T]
"""Yields what is to be sent, is sent the answers, returns the result."""
