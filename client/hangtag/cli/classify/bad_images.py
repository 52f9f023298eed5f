"""Finds the images of `hangtag classify` that caused an error, and adds their names to its message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...client import Client
from ...errors import HangtagError, InvalidInput
from .. import inputs
from ..inputs import Source


class Taken:
    """The images from `start` up to `stop`, for a stream; `last` has the positions of the images that it read last."""

    def __init__(self, sources: Sequence[Source], start: int, stop: int) -> None:
        self.sources, self.start, self.stop, self.last = sources, start, stop, range(start, start)

    def __iter__(self) -> Iterator[Any]:
        for item in inputs.items(self.sources, self.start):
            if self.last.stop >= self.stop:
                return
            count = len(item) if isinstance(item, np.ndarray) else 1
            self.last = range(self.last.stop, self.last.stop + count)
            yield item


def name_images(error: HangtagError, taken: Taken, client: Client, prepare: str | None) -> int | None:
    """Add the names of the images to the message of a stream's error; returns the position of the first one.

    If a request was refused, this searches for the one bad file. Returns None if the error is not about images.
    """
    if error.images is not None:
        images = range(taken.start + error.images.start, taken.start + error.images.stop)
        error.images = None  # the names below say more than these positions
        message = str(error)
        if isinstance(error, InvalidInput):
            images, message = _find_bad_file(taken.sources, images, client, prepare) or (images, message)
    elif isinstance(error.__cause__, InvalidInput):  # about the item that the stream took last
        images, message = taken.last, str(error.__cause__)
    else:
        images, message = range(0), ""
    if not images:
        return None
    first, last = (inputs.name(taken.sources, index) for index in (images[0], images[-1]))
    if first == last:
        error.args = (message if first in message else f"{first}: {message}",)
    else:
        error.args = (f"{message} ({first} to {last})",)
    return images[0]


def _find_bad_file(
    sources: Sequence[Source], images: range, client: Client, prepare: str | None
) -> tuple[range, str] | None:
    """The first image that is refused when it is sent alone, and why; None if there is none, or not all are files."""
    names = {index: inputs.name(sources, index) for index in images}
    if not all(Path(name).is_file() for name in names.values()):
        return None
    while images:
        half = images[: (len(images) + 1) // 2]
        try:
            client.classify([names[index] for index in half], prepare=prepare)
        except InvalidInput as error:
            if len(half) == 1:
                return half, str(error)
            images = half
        except HangtagError:
            return None
        else:
            images = images[len(half) :]
    return None
