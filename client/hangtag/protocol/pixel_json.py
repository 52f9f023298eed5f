"""uint8 images as JSON, four times as fast as by a JSON library: a table has the four characters of each pixel value.

Each number takes four bytes, blanks before it, a comma or a bracket behind it; JSON allows blanks between its tokens. A
look into the table writes a pixel, so numpy writes all of them at once. Images that are nearly all black have short
numbers, whose text the blanks would double: those are left to the JSON library.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_MOST_BLANK = 1.5  # times the bytes without blanks; Fashion-MNIST, half black, is at 1.44
_LAST = 256  # in the table, the entries for the end of a row come this much after those within it
_GAP = 512  # the entries for between rows begin here
_BLOCK = 1 << 15  # pixels written at a time: what is needed on the way stays in the processor's cache


def pixel_text(array: np.ndarray, before: bytes = b"", after: bytes = b"") -> bytearray | None:
    """A uint8 array [N, …] of two dimensions or more as nested JSON lists; None where that would be too large.

    The text is put between `before` and `after`, where it is made, for a copy would cost as much as the making.

    >>> pixel_text(np.array([[255, 147], [100, 142]], "u1"), b'{"x":', b"}")
    bytearray(b'{"x":     [[255,147]  ,[100,142]]}')
    """
    if not array.size:
        return None
    depth, row = array.ndim, array.shape[-1]
    rows, gap = array.size // row, _gap_cells(depth)
    size = 4 * (array.size + gap * rows)
    shortest = 2 * (array.size + rows) + np.count_nonzero(array > 9) + np.count_nonzero(array > 99)
    if size > _MOST_BLANK * shortest:
        return None
    start = len(before) + -len(before) % 4  # numpy is slow where they are not aligned
    after = b"]" * (depth - 1) + after
    text = bytearray(start + size + len(after))
    text[:start], text[start + size :] = before.ljust(start), after
    cells = np.frombuffer(text, "<u4", size // 4, start).reshape(*array.shape[:-1], gap + row)
    table = _table(depth)
    step = max(1, _BLOCK * len(array) // array.size)
    for at in range(0, len(array), step):
        block = array[at : at + step]
        # Where in the table the cells of each row stand, with those of the gap before it.
        places = np.empty((*block.shape[:-1], gap + row), np.uint16)
        places[..., gap:] = block
        places[..., -1] += _LAST
        for closed in range(depth - 1):  # lists that end before the row: from none to a whole image
            starts = places[..., :gap].reshape(*block.shape[: depth - 1 - closed], -1, gap)
            starts[..., 0, :] = np.arange(gap) + _GAP + gap * closed
        if at == 0:  # nothing ends before the first row
            places[(0,) * (depth - 1)][:gap] += gap
        table.take(places, out=cells[at : at + step], mode="clip")
    return text


@lru_cache
def _gap_cells(depth: int) -> int:
    """As many as the brackets between two images need."""
    return -(-2 * (depth - 1) // 4)


@lru_cache
def _table(depth: int) -> np.ndarray:
    """The characters of pixels within and at the end of a row, and of the gaps before one, as little-endian uint32."""
    gaps = [b"]" * closed + b"," + b"[" * (closed + 1) for closed in range(depth - 1)] + [b"[" * depth]
    width = 4 * _gap_cells(depth)
    pixels = [b"%3d%s" % (value, end) for end in (b",", b"]") for value in range(256)]
    return np.frombuffer(b"".join(pixels + [gap.rjust(width) for gap in gaps]), "<u4")
