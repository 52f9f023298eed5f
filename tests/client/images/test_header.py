"""Size and orientation from the first bytes of a file: as Pillow reads them, and nothing for what is damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hangtag.images.header import Header, read_header


def saved(kind: str, orientation: int | None = None, **options) -> bytes:
    file = io.BytesIO()
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x010F] = "maker"
        options["exif"][0x0112] = orientation
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_size_and_orientation(kind, orientation):
    assert read_header(saved(kind, orientation)) == Header(30, 20, orientation or 1, 3 if kind == "JPEG" else 0)


def test_progressive_files_with_other_blocks_before():
    assert read_header(saved("JPEG", 6, progressive=True, comment=b"x" * 60_000, icc_profile=b"p" * 90_000)) == Header(
        30, 20, 6, 3
    )


@pytest.mark.parametrize("order", ["little", "big"])
def test_both_byte_orders(order):
    file = saved("JPEG", 6)
    with Image.open(io.BytesIO(file)) as opened:
        exif = opened.getexif()
    exif.endian = "<" if order == "little" else ">"
    assert read_header(saved("JPEG", None, exif=exif.tobytes())) == Header(30, 20, 6, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_file_is_no_error(kind):
    """Cut anywhere, or with any byte changed: a header or None, never an exception, and never a wrong orientation."""
    file = saved(kind, 6)
    random = np.random.default_rng(0)
    for length in range(min(len(file), 400)):
        read_header(file[:length])
    for _ in range(3000):
        changed = bytearray(file)
        changed[random.integers(len(file))] = random.integers(256)
        found = read_header(bytes(changed))
        assert found is None or 1 <= found.orientation <= 8


def test_other_files_have_no_header():
    for file in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff" + b"\xff" * 100_000):
        assert read_header(file) is None
