"""Every error Hangtag raises, for both transports alike.

    HangtagError
    ├── ServerUnavailable   nobody answers at the target, or the connection broke
    ├── DeadlineExceeded    the call's time ran out                       (also TimeoutError)
    ├── ModelNotFound       no such model, version or version label is being served
    ├── InvalidInput        the images or arguments cannot be right       (also ValueError)
    ├── UnknownSignature    the model has no signature of that name
    ├── ServerBusy          the server refused for load; the same call may succeed later
    ├── ServerError         the server failed, or refused for another reason
    ├── BadResponse         the answer is not what TensorFlow Serving sends
    └── MissingExtra        an optional part of Hangtag is not installed  (also ImportError)

An error that comes from the server keeps the server's own words in its message.
"""

from __future__ import annotations


class HangtagError(Exception):
    """Base of all errors.

    `code` is the server's status (``"NOT_FOUND"``), or None when the error arose here. `images` are the positions of
    the images that were in the failed chunk of a larger call, else None.
    """

    exit_code = 1
    """What the command line exits with: 1 the work failed, 2 bad usage or bad input."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.images: range | None = None

    def __str__(self) -> str:
        words = super().__str__()
        if self.images is None:
            return words
        return f"{words} (images {self.images.start} to {self.images.stop - 1})"


class ServerUnavailable(HangtagError):
    """Nobody answers at the target, or the connection broke before the answer was complete."""


class DeadlineExceeded(HangtagError, TimeoutError):
    """The time given to the whole call, retries included, ran out."""


class ModelNotFound(HangtagError):
    """The server serves no such model, version or version label."""


class InvalidInput(HangtagError, ValueError):
    """The images or arguments cannot be right; sending them again will not help."""

    exit_code = 2


class UnknownSignature(HangtagError):
    """The model has no signature of that name."""


class ServerBusy(HangtagError):
    """The server refused the call because of its load, not because of what was sent."""


class ServerError(HangtagError):
    """The server failed, or refused the call for a reason that has no class of its own."""


class BadResponse(HangtagError):
    """The answer could not be read as TensorFlow Serving's."""


class MissingExtra(HangtagError, ImportError):
    """An optional part of Hangtag is needed and not installed."""

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more than the base install: pip install 'hangtag[{extra}]'")
        self.extra = extra
