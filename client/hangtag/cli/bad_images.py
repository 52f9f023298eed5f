"""Which of the images of `hangtag classify` an error is about, by the names that its rows would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..client import Client
from ..errors import HangtagError, InvalidInput
from . import inputs
from .inputs import Source


class Handed:
    """The images from `start` up to `stop`, for a stream, and which of them it was handed last."""

    def __init__(self, found: Sequence[Source], start: int, stop: int) -> None:
        self.found, self.start, self.stop, self.last = found, start, stop, range(start, start)

    def __iter__(self) -> Iterator[Any]:
        for item in inputs.items(self.found, self.start):
            if self.last.stop >= self.stop:
                return
            count = len(item) if isinstance(item, np.ndarray) else 1
            self.last = range(self.last.stop, self.last.stop + count)
            yield item


def blame(error: HangtagError, handed: Handed, client: Client, prepare: str | None) -> int | None:
    """Have an error of the stream say which images it is about, and return the first of them.

    The file that spoilt a request is searched for. None is for an error that is about no image.
    """
    if error.images is not None:
        images = range(handed.start + error.images.start, handed.start + error.images.stop)
        error.images = None  # counted from the first image that was asked for, which says little
        words = str(error)
        if isinstance(error, InvalidInput):
            images, words = _refused_alone(handed.found, images, client, prepare) or (images, words)
    elif isinstance(error.__cause__, InvalidInput):  # of the item that the stream had just taken
        images, words = handed.last, str(error.__cause__)
    else:
        images, words = range(0), ""
    if not images:
        return None
    first, last = (inputs.name(handed.found, index) for index in (images[0], images[-1]))
    if first == last:
        error.args = (words if first in words else f"{first}: {words}",)
    else:
        error.args = (f"{words} ({first} to {last})",)
    return images[0]


def _refused_alone(
    found: Sequence[Source], images: range, client: Client, prepare: str | None
) -> tuple[range, str] | None:
    """The first image that is refused by itself too, and the words; None if there is none, or these are no files."""
    names = {index: inputs.name(found, index) for index in images}
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
