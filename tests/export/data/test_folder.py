"""A folder of images is a data set; what is wrong with one is one sentence that names it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hangtag_export.data.class_names import read_class_names
from hangtag_export.data.folder import load_images
from hangtag_export.errors import DataError


def fill(folder: Path, images: np.ndarray, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.{ending}")


def load(folder: Path, shape: tuple[int, ...] = (28, 28), **options: object):
    """The data set and the lines that were printed."""
    lines: list[str] = []
    return load_images(folder, shape, say=lines.append, **options), lines


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(DataError) as raised:
        load(folder, **options)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_a_fifth_of_each_class_is_for_testing_chosen_by_seed(images, tmp_path):
    fill(tmp_path / "靴子", images[:10])
    fill(tmp_path / "bags", images[10:30])
    (tmp_path / ".cache").mkdir()
    first, again, other = (load(tmp_path, seed=seed)[0] for seed in (1, 1, 2))
    assert first.class_names == ("bags", "靴子")
    assert first.train_images.shape == (24, 28, 28)
    assert first.train_images[:5].dtype == np.uint8
    assert np.bincount(first.test_labels).tolist() == [4, 2]
    assert np.array_equal(first.test_images[:], again.test_images[:])
    assert not np.array_equal(first.test_images[:], other.test_images[:])
    both = np.concatenate([first.train_images[:], first.test_images[:]])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in images[:30]}, "pixels stay as they are"


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("train", "val"), ("training", "Validation"), ("Train", "valid"), ("training_set", "test_set")],
)
def test_train_and_test_folders_are_used_as_they_are(names, images, tmp_path):
    for part, start, count in ((names[0], 0, 6), (names[1], 100, 3)):
        fill(tmp_path / part / "a", images[start : start + count])
        fill(tmp_path / part / "b", images[start + 50 : start + 50 + count], "jfif")
    dataset, lines = load(tmp_path)
    assert dataset.train_labels.tolist() == [0] * 6 + [1] * 6
    assert dataset.test_labels.tolist() == [0] * 3 + [1] * 3
    assert np.array_equal(dataset.test_images[:3], images[100:103])
    assert dataset.validation_images is None
    assert lines == (
        [] if "test" in names[1] else [f"there is no test/: the images of {names[1]}/ are the test images"]
    )


def test_with_three_folders_val_is_for_validation(images, tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        for name in "ab":
            fill(tmp_path / part / name, images[number * 10 : number * 10 + 2 + number])
    fill(tmp_path / "unlabelled", images[:2])
    dataset, lines = load(tmp_path)
    assert [len(labels) for labels in (dataset.train_labels, dataset.validation_labels, dataset.test_labels)] == [
        4,
        6,
        8,
    ]
    assert np.array_equal(dataset.validation_images[0], images[10])
    assert lines == ["skipped 1 of 19 files: 1 beside train/, val/, test/"]


def test_images_of_nested_folders_belong_to_the_class_above(images, tmp_path):
    fill(tmp_path / "a", images[:2])
    fill(tmp_path / "a" / "2024" / "may", images[2:5])
    fill(tmp_path / "b", images[5:8])
    dataset, lines = load(tmp_path)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 8
    assert lines == []


def test_any_size_grey_or_colour_becomes_the_size_and_channels_of_the_data_set(images, tmp_path):
    pictures = [Image.fromarray(image) for image in images[:4]]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pictures[0].resize((56, 40)).save(tmp_path / name / "0.jpeg")
        pictures[1].convert("RGB").save(tmp_path / name / "1.PNG")
        pictures[2].convert("RGBA").save(tmp_path / name / "2.png")
        pictures[3].convert("P").save(tmp_path / name / "3.png")
    grey, colour = load(tmp_path, (20, 24))[0], load(tmp_path, (20, 24, 3))[0]
    assert grey.train_images.shape == (6, 20, 24)
    assert colour.train_images.shape == (6, 20, 24, 3)
    assert (np.ptp(colour.train_images[:], axis=3) <= 2).all(), "grey images have three channels alike"


def test_the_checksum_is_of_names_and_contents(images, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, images[:3])
    before = load(tmp_path)[0].checksum
    assert load(tmp_path, (14, 14))[0].checksum == before
    (tmp_path / "a").rename(tmp_path / "c")
    assert load(tmp_path)[0].checksum != before


def test_one_line_says_what_was_skipped_and_why(images, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, images[:3])
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "phone.heic").write_bytes(b"no format that is read")
    (tmp_path / "b" / "._000.png").write_bytes(b"what macOS writes beside files")
    (tmp_path / "b" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "b" / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    (tmp_path / "b" / "zeros.png").symlink_to("/dev/zero")
    (tmp_path / "b" / "all").symlink_to(tmp_path)
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "readme.md").write_text("no image")
    dataset, lines = load(tmp_path)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 6
    (line,) = lines
    assert line.startswith("skipped 9 of 15 files: 2 ")
    for reason in (
        "1 .txt",
        "1 .heic",
        "1 hidden",
        "2 links that lead nowhere",
        "2 no regular",
        "1 links to folders",
        "1 outside of a class",
    ):
        assert reason in line


def test_all_bad_files_are_named_at_once_and_can_be_left_out(images, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, images[:4])
    fill(tmp_path / "a", images[:30], "jpg")
    for number in range(25):
        (tmp_path / "a" / f"bad{number:02}.jpg").write_text("<html>404</html>")
    (tmp_path / "b" / "cut.png").write_bytes((tmp_path / "b" / "000.png").read_bytes()[:60])
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    (tmp_path / "b" / "passwd.png").symlink_to("/etc/passwd")
    message = refused(tmp_path)
    assert message.startswith(f"28 of 66 images of {tmp_path} cannot be used: a/bad00.jpg (not an image")
    assert "a/bad09.jpg" in message
    assert "a/bad10.jpg" not in message, "the list is bounded"
    assert "and 18 more. Repair or remove them, or give --skip-bad" in message
    dataset, lines = load(tmp_path, skip_bad=True)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 38
    assert lines == ["skipped 28 of 66 files: 28 bad"]


def test_a_class_without_good_images_is_refused(images, tmp_path):
    fill(tmp_path / "a", images[:3])
    (tmp_path / "b").mkdir()
    for number in range(3):
        (tmp_path / "b" / f"{number}.png").write_bytes(b"")
    assert refused(tmp_path, skip_bad=True) == "class 'b' has too few images that can be read"


def test_names_that_are_no_text_are_escaped_in_messages(images, tmp_path):
    """A file may have any name; a class may not, because its name is sent to clients."""
    for name in ("a", "b"):
        fill(tmp_path / name, images[:3])
    strange = Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff\x1b[31m.png"))
    strange.write_bytes((tmp_path / "a" / "000.png").read_bytes())
    dataset, _ = load(tmp_path)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 7
    strange.write_bytes(b"no image")
    assert r"a/\xff\x1b[31m.png (not an image" in refused(tmp_path)
    strange.unlink()
    for name in (b"b\xff", b"b\n\x1b[31m", "b\u202egpj".encode(), b" "):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        (tmp_path / "b").rename(folder)
        message = refused(tmp_path)
        assert "cannot be a class: its name is" in message
        assert message.isprintable()
        folder.rename(tmp_path / "b")


def test_class_names_are_in_the_composed_form_of_unicode(images, tmp_path):
    """macOS writes "é" as two characters: a name that people type must be equal to the folder's."""
    for part, form in (("train", "NFD"), ("test", "NFC")):
        for name in ("café", "Möwe"):
            fill(tmp_path / part / unicodedata.normalize(form, name), images[:2])
    assert load(tmp_path)[0].class_names == read_class_names(tmp_path) == ("Möwe", "café")
    fill(tmp_path / "train" / "café", images[:2])
    assert "two folders whose names look the same ('caf\\xe9'): rename one" in refused(tmp_path)


def test_what_is_wrong_with_a_folder_is_one_sentence(images, tmp_path):
    assert refused(tmp_path / "nowhere").startswith("there is no folder")
    assert "has no folders" in refused(tmp_path)
    fill(tmp_path / "a", images[:1])
    assert "has one class only (a): a classifier needs two" in refused(tmp_path)
    fill(tmp_path / "b", images[1:2])
    assert "class 'a' has one image only" in refused(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "phone.heic").write_bytes(b"")
    assert "empty has no PNG, JPEG, WebP, GIF, BMP or TIFF file, only 1 .heic" in refused(tmp_path)
    fill(tmp_path / "empty", images[:3])
    for part in ("train", "test"):
        fill(tmp_path / part / "a", images[:2])
        fill(tmp_path / part / "b", images[:2])
    fill(tmp_path / "test" / "c", images[:2])
    assert "has a class 'c' that" in refused(tmp_path)
    (tmp_path / "test" / "c").rename(tmp_path / "train" / "c")
    assert "has no folder for class 'c'" in refused(tmp_path)


def test_parts_of_a_data_set_are_not_taken_for_classes(images, tmp_path):
    for part in ("train", "holdout"):
        fill(tmp_path / part / "a", images[:2])
        fill(tmp_path / part / "b", images[:2])
    assert "train and " in refused(tmp_path)
    message = " have the same folders, as the parts of a data set have: name them train and test, or val"
    assert "/holdout" + message in refused(tmp_path)
    (tmp_path / "train").rename(tmp_path / "photos-train")
    assert "/holdout" + message in refused(tmp_path)
    (tmp_path / "photos-train").rename(tmp_path / "train")
    shutil.rmtree(tmp_path / "holdout")
    fill(tmp_path / "Test", images[:2])
    assert "/Test has no folders, and " in refused(tmp_path)
    (tmp_path / "Test").rename(tmp_path / "plane")
    assert load(tmp_path)[0].class_names == ("plane", "train"), "a class may have this name, and folders"
    fill(tmp_path / "plane ", images[:2])
    assert "two folders whose names look the same" in refused(tmp_path)


@pytest.mark.parametrize("shape", [(0, 8), (8, 8, 2), (8,), (10_000, 10_000, 3)])
def test_a_shape_that_no_images_have_is_refused(shape, tmp_path):
    with pytest.raises(DataError, match=r"is neither \(H, W\), grey, nor"):
        load(tmp_path, shape)
    with pytest.raises(DataError, match="is an empty text"):
        load_images("")


def test_a_folder_above_the_data_set_is_recognised(images, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, images[:3])
    assert f"It holds folders itself (a, b): is {tmp_path}/images the data set?" in refused(tmp_path)
