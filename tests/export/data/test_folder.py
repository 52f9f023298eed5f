"""A folder of images is a data set; what is wrong with one is said in a sentence that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hangtag_export.data.folder import load_folder
from hangtag_export.errors import DataError


def fill(folder: Path, images: np.ndarray, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.{ending}")


def test_a_fifth_of_each_class_is_for_testing_chosen_by_seed(images, tmp_path):
    fill(tmp_path / "靴子", images[:10])
    fill(tmp_path / "bags", images[10:30])
    (tmp_path / "bags" / "notes.txt").write_text("passed over")
    (tmp_path / ".cache").mkdir()
    first, again, other = (load_folder(tmp_path, (28, 28), seed) for seed in (1, 1, 2))
    assert first.class_names == ("bags", "靴子")
    assert first.train_images.shape == (24, 28, 28)
    assert first.train_images.dtype == np.uint8
    assert np.bincount(first.test_labels).tolist() == [4, 2]
    assert np.array_equal(first.test_images, again.test_images)
    assert not np.array_equal(first.test_images, other.test_images)
    both = np.concatenate([first.train_images, first.test_images])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in images[:30]}, "pixels stay as they are"


def test_train_and_test_folders_are_taken_as_they_are(images, tmp_path):
    for part, start, count in (("train", 0, 6), ("test", 100, 3)):
        fill(tmp_path / part / "a", images[start : start + count])
        fill(tmp_path / part / "b", images[start + 50 : start + 50 + count], "jpg")
    found = load_folder(tmp_path, (28, 28), 1)
    assert found.train_labels.tolist() == [0] * 6 + [1] * 6
    assert found.test_labels.tolist() == [0] * 3 + [1] * 3
    assert np.array_equal(found.test_images[:3], images[100:103])


def test_any_size_grey_or_colour_becomes_the_size_and_channels_asked_for(images, tmp_path):
    pictures = [Image.fromarray(image) for image in images[:4]]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pictures[0].resize((56, 40)).save(tmp_path / name / "0.jpeg")
        pictures[1].convert("RGB").save(tmp_path / name / "1.PNG")
        pictures[2].convert("RGBA").save(tmp_path / name / "2.png")
        pictures[3].convert("P").save(tmp_path / name / "3.png")
    grey, colour = load_folder(tmp_path, (20, 24), 1), load_folder(tmp_path, (20, 24, 3), 1)
    assert grey.train_images.shape == (6, 20, 24)
    assert colour.train_images.shape == (6, 20, 24, 3)
    assert (np.ptp(colour.train_images, axis=3) <= 2).all(), "grey pictures have three channels alike"


def test_the_checksum_is_of_names_and_contents(images, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, images[:3])
    before = load_folder(tmp_path, (28, 28), 1).checksum
    assert load_folder(tmp_path, (14, 14), 1).checksum == before
    (tmp_path / "a").rename(tmp_path / "c")
    assert load_folder(tmp_path, (28, 28), 1).checksum != before


def test_what_is_wrong_with_a_folder_is_said(images, tmp_path):
    def refused(words: str, folder: Path = tmp_path) -> None:
        with pytest.raises(DataError, match=words) as raised:
            load_folder(folder, (28, 28), 1)
        assert "\n" not in str(raised.value)
        assert raised.value.exit_code == 2

    refused("there is no folder .*nowhere", tmp_path / "nowhere")
    refused("has no folders")
    fill(tmp_path / "a", images[:1])
    refused(r"has one class only \(a\)")
    fill(tmp_path / "b", images[1:2])
    refused("class 'a' has one image only")
    (tmp_path / "empty").mkdir()
    refused("empty has no PNG or JPEG file")
    (tmp_path / "empty").rmdir()
    fill(tmp_path / "a", images[:3])
    fill(tmp_path / "b", images[:3])
    (tmp_path / "b" / "broken.png").write_bytes((tmp_path / "b" / "000.png").read_bytes()[:60])
    refused("broken.png cannot be read as PNG or JPEG")
    (tmp_path / "b" / "broken.png").unlink()
    for part in ("train", "test"):
        fill(tmp_path / part / "a", images[:2])
        fill(tmp_path / part / "b", images[:2])
    fill(tmp_path / "test" / "c", images[:2])
    refused("has a class 'c' that")
    (tmp_path / "test" / "c").rename(tmp_path / "train" / "c")
    refused("has no folder for class 'c'")
