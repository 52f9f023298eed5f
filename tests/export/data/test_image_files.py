"""Files of many formats become the pixels that the exported model sees; hostile headers are refused before decoding."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hangtag.images import input as image_input
from hangtag.images.files import MAX_IMAGE_BYTES
from hangtag_export.data import image_decoding as graph
from hangtag_export.data import image_files
from hangtag_export.data.image_files import BadImageError, ImageFiles, Subset, decode, select

SHAPE = (16, 16, 3)


def ramp() -> np.ndarray:
    """Dark blue at the left, bright yellow at the right: smooth, so that JPEG changes little."""
    steps = np.linspace(0, 255, 32).astype(np.uint8)
    return np.stack([np.tile(steps, (32, 1)), np.tile(steps, (32, 1)), np.full((32, 32), 90, np.uint8)], axis=-1)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def near(first: np.ndarray, second: np.ndarray, most: float = 6) -> bool:
    return np.abs(first.astype(float) - second.astype(float)).mean() < most


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_formats_and_modes_give_the_same_image(kind, mode):
    image = Image.fromarray(ramp())
    converted = image.convert(mode)
    writable = {"RGB", "L", "P", "1"} if kind in ("BMP", "GIF") else {"PNG": {"RGB", "L", "P", "RGBA", "1"}}.get(kind)
    if kind == "JPEG":
        writable = {"RGB", "L", "CMYK"}
    elif kind == "WEBP":
        writable = {"RGB", "RGBA", "L"}
    if writable is not None and mode not in writable:
        pytest.skip("there are no such files")
    expected = np.asarray(converted.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
    assert near(decode(saved(converted, kind), SHAPE), expected, 40 if mode in ("1", "P") and kind != "PNG" else 8)
    assert decode(saved(converted, kind), (16, 16)).shape == (16, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind):
    deep = Image.fromarray((np.tile(np.arange(16), (16, 1)) * 4096).astype(np.uint16))
    assert near(decode(saved(deep, kind), (16, 16)), np.tile(np.arange(16) * 16, (16, 1)), 1.5)


def test_floating_point_pixels_are_scaled_too():
    values = Image.fromarray(np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1)))
    assert near(decode(saved(values, "TIFF"), (16, 16)), np.tile(np.linspace(0, 255, 16), (16, 1)), 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_exif_data_say(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(ramp()), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    assert near(decode(file, (32, 32, 3)), np.asarray(upright), 8)


def test_png_and_jpeg_have_the_pixels_that_the_exported_model_sees():
    """To the last bit: the same decoder."""
    for kind in ("PNG", "JPEG"):
        file = saved(Image.fromarray(ramp()), kind)
        assert np.array_equal(decode(file, SHAPE), graph.decode(file, SHAPE).numpy())


def tagged(exif: bytes, kind: bytes = b"Exif\0\0") -> bytes:
    """A JPEG file with this block of metadata."""
    file, block = saved(Image.fromarray(ramp()), "JPEG"), kind + exif
    return file[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + file[2:]


def orientation(kind: int, value: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, kind, 1, value, 0)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize(
    "file",
    [
        saved(Image.fromarray(ramp()).convert("CMYK"), "JPEG"),
        tagged(orientation(3, 6)),
        tagged(orientation(4, 6)),  # of a type that cameras do not write, and browsers ignore
        tagged(orientation(3, 9)),
        tagged(XMP, b"http://ns.adobe.com/xap/1.0/\0"),
        tagged(b"damaged"),
        saved(Image.fromarray(ramp()), "WEBP", exif=b"Exif\0\0damaged", lossless=True),
        saved(Image.fromarray(np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))), "TIFF"),
        saved(Image.frombytes("LAB", (32, 32), ramp().tobytes()), "TIFF"),
        saved(Image.fromarray(ramp()).convert("P"), "PNG", transparency=0),
        saved(Image.fromarray(ramp()), "GIF", save_all=True, append_images=[Image.new("RGB", (32, 32))]),
    ],
    ids=["cmyk", "turned", "long", "nine", "xmp", "exif", "webp-exif", "float", "lab", "palette", "animated"],
)
@pytest.mark.parametrize("shape", [SHAPE, (16, 16)], ids=["colour", "grey"])
def test_the_client_sends_what_training_saw(file, shape):
    """To the last bit, although libpng makes what the client sends grey, and numpy what training reads."""
    (sent,) = image_input.read(file).files
    seen = graph.decode(sent, shape).numpy()
    assert np.array_equal(decode(file, shape), seen)
    assert seen.std() > 5  # the ramp, not one colour


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


def jpeg_header(width: int, height: int) -> bytes:
    file = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    place = file.index(b"\xff\xc0")
    file[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(file)


@pytest.mark.parametrize(
    "file",
    [png_header(22_000, 24_000), png_header(60_000, 60_000), jpeg_header(22_000, 22_000)],
    ids=["png", "png60k", "jpeg"],
)
def test_a_header_of_too_many_pixels_is_refused_before_memory_is_taken(file):
    decode(saved(Image.fromarray(ramp()), "PNG"), SHAPE)  # what is made once is made now
    tracemalloc.start()
    with pytest.raises(BadImageError, match="more than 50 million"):
        decode(file, SHAPE)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    file = tmp_path / "huge.png"
    with file.open("wb") as opened:
        opened.truncate(MAX_IMAGE_BYTES + 1)
    _, bad = ImageFiles([file], SHAPE).check()
    assert bad == {0: "larger than 100 MB"}


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    made = []
    for number in range(12):
        made.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full(SHAPE, number, np.uint8)).save(made[-1])
    return made


@pytest.mark.parametrize("cache_bytes", [0, 512_000_000], ids=["from files", "cached"])
def test_images_in_files_read_like_an_array(paths, monkeypatch, cache_bytes):
    monkeypatch.setattr(image_files, "CACHE_BYTES", cache_bytes)
    files = ImageFiles(paths, SHAPE)
    whole = np.stack([np.full(SHAPE, number, np.uint8) for number in range(12)])
    for index in (3, -1, slice(2, 5), slice(None, None, -3), [5, 0, 5], np.array([1, 11])):
        assert np.array_equal(files[index], whole[index])
    subset = select(Subset(files, np.arange(12)), np.array([7, 2, 9]))
    assert isinstance(subset, Subset)
    assert subset.shape == (3, *SHAPE)
    assert np.array_equal(subset[1:], whole[[2, 9]])


def test_decoded_images_stay_in_memory_only_if_all_fit(paths, monkeypatch):
    kept = ImageFiles(paths, SHAPE)
    kept.check()
    monkeypatch.setattr(image_files, "CACHE_BYTES", 12 * 768 - 1)
    too_many = ImageFiles(paths, SHAPE)
    too_many.check()
    for path in paths:
        path.unlink()
    assert kept[:][11].max() == 11
    with pytest.raises(BadImageError, match="cannot be opened"):
        too_many[:]
