"""`hangtag evaluate`: the same figures by a running server and by the version on disk; every kind of data."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag.cli.main import main


def evaluated(capsys, *arguments, code: int = 0):
    assert main(["evaluate", *map(str, arguments), *([] if code else ["--json"])]) == code
    captured = capsys.readouterr()
    return captured.err if code else json.loads(captured.out)


@pytest.fixture
def folder(dataset, tmp_path):
    """Three test images of each class, as a folder of folders."""
    for label, name in enumerate(dataset.class_names):
        place = tmp_path / "photos" / "test" / name.replace("/", "-")
        place.mkdir(parents=True)
        for number in np.flatnonzero(dataset.test_labels == label)[:3]:
            Image.fromarray(dataset.test_images[number]).save(place / f"{number}.png")
    return tmp_path / "photos"


def test_a_server_and_the_version_on_disk_give_the_same_figures(server, exported, dataset, capsys, tmp_path):
    np.savez(tmp_path / "test.npz", images=dataset.test_images[:1000], labels=dataset.test_labels[:1000])
    running = evaluated(capsys, tmp_path / "test.npz", "--target", server.grpc, "--timeout=60")
    on_disk = evaluated(capsys, tmp_path / "test.npz", "--saved-model", exported)
    assert (running["images"], running["model_version"], on_disk["model_version"]) == (1000, 1, 1)
    assert running["accuracy"] == on_disk["accuracy"] > 0.7
    assert running["confusion_matrix"] == on_disk["confusion_matrix"]
    assert running["per_class"] == on_disk["per_class"]
    assert running["expected_calibration_error"] == pytest.approx(on_disk["expected_calibration_error"], abs=1e-3)
    assert 0 < running["p50_ms"] <= running["p95_ms"]
    assert "p50_ms" not in on_disk


def test_the_table_and_the_pictures(server, dataset, capsys, tmp_path):
    np.savez(tmp_path / "test.npz", images=dataset.test_images[:300], labels=dataset.test_labels[:300])
    pictures = [tmp_path / "errors.png", tmp_path / "matrix.png"]
    flags = ["--plot", pictures[0], "--confusion-matrix", pictures[1], "--target", server.rest, "--timeout=60"]
    assert main(["evaluate", str(tmp_path / "test.npz"), *map(str, flags)]) == 0
    out = capsys.readouterr().out
    assert "class        precision  recall      f1  images" in out
    assert "of 300 images, loss" in out
    assert "expected calibration error 0." in out
    assert "latency of 32 images: p50 " in out
    for picture in pictures:
        with Image.open(picture) as drawn:
            assert min(drawn.size) > 300


def test_by_default_it_takes_the_test_images_of_fashion_mnist(server, capsys):
    document = evaluated(capsys, "--target", server.grpc, "--timeout=60")
    assert document["images"] == 10_000
    assert sum(map(sum, document["confusion_matrix"])) == 10_000


def test_a_folder_of_classes_by_both_ways(folder, exported, server, capsys):
    """Its folders are named as the classes are; of train/, val/ and test/ the last is taken."""
    (folder / "train" / "Other").mkdir(parents=True)
    (folder / "test" / "T-shirt-top").rename(folder / "train" / "T-shirt-top")  # no folder can have its name
    running = evaluated(capsys, folder, "--target", server.grpc, "--timeout=60")
    on_disk = evaluated(capsys, folder, "--saved-model", exported / "1")
    assert running["images"] == on_disk["images"] == 27
    assert running["confusion_matrix"] == on_disk["confusion_matrix"]


def test_a_server_needs_no_tensorflow(tmp_path):
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(20) % 10
    np.savez(tmp_path / "test.npz", images=images, labels=np.arange(20) % 10)
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        code = f"""import sys
from hangtag.cli.main import main
from hangtag.fashion_mnist import CLASS_NAMES
assert main(["evaluate", {str(tmp_path / "test.npz")!r}, "--target", {target!r}]) == 0
assert not {{"tensorflow", "keras"}} & set(sys.modules)"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy 1.0000 of 20 images" in done.stdout


def test_labels_are_of_the_classes_that_the_data_name(capsys, tmp_path):
    """In whichever order: labels of the model's classes in another order are not taken for the model's."""
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(20) % 10
    order = np.roll(np.arange(10), 3)  # class n of the data is class order[n] of the model
    labels = np.argsort(order)[np.arange(20) % 10]
    np.savez(tmp_path / "test.npz", images=images, labels=labels, class_names=[f"class {n}" for n in order])
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        document = evaluated(capsys, tmp_path / "test.npz", "--target", target)
    assert document["accuracy"] == 1


WRONG = [
    ({"images": np.zeros((2, 28, 28), np.uint8)}, "has no `labels`"),
    ({"images": np.zeros((2, 28, 28), np.uint8), "labels": np.zeros(3, int)}, "must be 2 whole numbers"),
    ({"images": np.zeros((2, 28, 28), np.uint8), "labels": np.zeros(2)}, "must be 2 whole numbers"),
    ({"images": np.zeros((2, 28, 28), np.uint8), "labels": np.array([0, 10])}, "must be from 0 to 9"),
    ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, int)}, "there are no images to evaluate on"),
]


@pytest.mark.parametrize(("arrays", "message"), WRONG, ids=[message for _, message in WRONG])
def test_data_that_cannot_be_right_is_one_sentence(capsys, tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        error = evaluated(capsys, tmp_path / "bad.npz", "--target", target, code=2)
    assert message in error
    assert error.count("\n") == 1


def test_other_data_that_cannot_be_read_is_one_sentence(capsys, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("L", (28, 28)).save(tmp_path / "photos" / "cat" / "1.png")
    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        for data, message in {
            "gone": "is neither a folder, nor an .npz file, nor fashion-mnist",
            "gone.npz": "No such file",
            "broken.npz": "cannot read",
            "photos": "not a class of the model",
        }.items():
            error = evaluated(capsys, tmp_path / data, "--target", target, code=1 if data == "?" else 2)
            assert message in error
            assert error.count("\n") == 1
