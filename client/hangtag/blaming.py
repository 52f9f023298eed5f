"""Which of the images of `hangtag classify` an error is about, by the names that its rows would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import sources
from .client import Client
from .errors import HangtagError, InvalidInput
from .sources import Source


class Handed:
    """The images from `start` on, for a stream, and which of them it was handed last."""

    def __init__(self, found: Sequence[Source], start: int) -> None:
        self.found, self.start, self.last = found, start, range(start, start)

    def __iter__(self) -> Iterator[Any]:
        for item in sources.items(self.found, self.start):
            count = len(item) if isinstance(item, np.ndarray) else 1
            self.last = range(self.last.stop, self.last.stop + count)
            yield item

    def names(self, images: range) -> list[str]:
        """What the output calls these images."""
        return [sources.name(self.found, index) for index in images]


def name_images(error: HangtagError, handed: Handed, client: Client, prepare: str | None) -> None:
    """Have an error of the stream say which images it is about; the file that spoilt a request is searched for."""
    if error.images is not None:
        names = handed.names(range(handed.start + error.images.start, handed.start + error.images.stop))
        error.images = None  # counted from the first image that was asked for, which says little
        alone = _refused_alone(names, client, prepare) if isinstance(error, InvalidInput) else None
        words, names = (f"{error}", names) if alone is None else alone
    elif isinstance(error.__cause__, InvalidInput):  # of the item that the stream had just taken
        words, names = str(error.__cause__), handed.names(handed.last)
    else:
        return
    if len(names) > 1:
        error.args = (f"{words} ({names[0]} to {names[-1]})",)
    else:
        error.args = (words if names[0] in words else f"{names[0]}: {words}",)


def _refused_alone(names: list[str], client: Client, prepare: str | None) -> tuple[str, list[str]] | None:
    """The first file that is refused by itself too, and the words; None if there is none, or these are no files."""
    if not all(Path(name).is_file() for name in names):
        return None
    while names:
        half = names[: (len(names) + 1) // 2]
        try:
            client.classify(half, prepare=prepare)
        except InvalidInput as error:
            if len(half) == 1:
                return str(error), half
            names = half
        except HangtagError:
            return None
        else:
            names = names[len(half) :]
    return None
