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

An error that comes from the server keeps the server's own words in its message. In the examples, which the tests run,
`Client` is asked for what goes wrong:

    >>> with Client("localhost:8500", model="shoes") as client:
    ...     client.labels()
    Traceback (most recent call last):
    hangtag.errors.ModelNotFound: ...Servable not found for request: Latest(shoes)
"""

from __future__ import annotations


class HangtagError(Exception):
    """Base of all errors.

    >>> try:
    ...     client.predict({"images": images[:1]}, signature="explain")
    ... except HangtagError as error:
    ...     print(error.code)
    FAILED_PRECONDITION

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
    """Nobody answers at the target, or the connection broke before the answer was complete.

    >>> with Client("localhost:1", retries=0) as client:
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.ServerUnavailable: no answer from localhost:1: ...
    """


class DeadlineExceeded(HangtagError, TimeoutError):
    """The time given to the whole call, retries included, ran out.

    >>> with Client("localhost:1") as client:
    ...     client.wait_ready(0.1)
    Traceback (most recent call last):
    hangtag.errors.DeadlineExceeded: fashion is not ready after 0.1 s: no answer from localhost:1: ...
    """


class ModelNotFound(HangtagError):
    """The server serves no such model, version or version label.

    >>> with Client("localhost:8500", version=99) as client:
    ...     client.labels()
    Traceback (most recent call last):
    hangtag.errors.ModelNotFound: ...Servable not found for request: Specific(fashion, 99)
    """


class InvalidInput(HangtagError, ValueError):
    """The images or arguments cannot be right; sending them again will not help.

    >>> client.classify(np.zeros((2, 14, 56), np.uint8))
    Traceback (most recent call last):
    hangtag.errors.InvalidInput: images of shape (2, 14, 56): fashion takes [N, 28, 28], or one image [28, 28]
    """

    exit_code = 2


class UnknownSignature(HangtagError):
    """The model has no signature of that name.

    >>> client.predict({"images": images[:1]}, signature="explain")
    Traceback (most recent call last):
    hangtag.errors.UnknownSignature: fashion version 1 has no signature 'explain'; it has classify, encoded_images, ...
    """


class ServerBusy(HangtagError):
    """The server refused the call because of its load, not because of what was sent.

    >>> with Client("busy.example.org:8500") as client:
    ...     client.classify(images[:1])  # raised after the last of its retries
    Traceback (most recent call last):
    hangtag.errors.ServerBusy: ... says RESOURCE_EXHAUSTED: Server Threadpool Exhausted
    """


class ServerError(HangtagError):
    """The server failed, or refused the call for a reason that has no class of its own.

    >>> with Client("http://localhost:8501/elsewhere", retries=0) as client:
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.ServerError: ... answers HTTP 404, which is no TensorFlow Serving answer: ...
    """


class BadResponse(HangtagError):
    """The answer could not be read as TensorFlow Serving's.

    >>> with Client("http://www.example.org") as client:  # a web server of another kind
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.BadResponse: the answer to /v1/models/fashion cannot be read: ...
    """


class MissingExtra(HangtagError, ImportError):
    """An optional part of Hangtag is needed and not installed.

    >>> print(MissingExtra("AsyncClient over REST", "aio"))
    AsyncClient over REST needs more than the base install: pip install 'hangtag[aio]'
    """

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more than the base install: pip install 'hangtag[{extra}]'")
        self.extra = extra
