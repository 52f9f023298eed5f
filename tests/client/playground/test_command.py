"""`hangtag playground` as a command: its flags, its test images and its ends."""

from __future__ import annotations

import signal
import socket

import numpy as np
import pytest
from PIL import Image

from hangtag import InvalidInput
from hangtag.playground.model_server import both_protocols
from playgrounds import playground
from support import PATIENCE, free_port, run


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["localhost:8500"], {"grpc": "localhost:8500", "rest": "http://localhost:8501"}),
        (
            ["grpcs://tf.example.org:8500"],
            {"grpc": "grpcs://tf.example.org:8500", "rest": "https://tf.example.org:8501"},
        ),
        (["http://10.0.0.1:8501"], {"grpc": "10.0.0.1:8500", "rest": "http://10.0.0.1:8501"}),
        (["https://[::1]:8501"], {"grpc": "grpcs://[::1]:8500", "rest": "https://[::1]:8501"}),
        (["localhost:9000"], {"grpc": "localhost:9000"}),
        (["http://localhost:8501/prefix"], {"rest": "http://localhost:8501/prefix"}),
        (["http://me:secret@localhost:8501"], {"rest": "http://me:secret@localhost:8501"}),
        (["http://a:80", "b:90"], {"rest": "http://a:80", "grpc": "b:90"}),
    ],
)
def test_a_target_on_one_standard_port_implies_the_other(targets, expected):
    assert both_protocols(targets) == expected


def test_two_targets_of_one_protocol_are_refused():
    with pytest.raises(InvalidInput, match="at most one --target"):
        both_protocols(["a:1", "b:2"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_signal_without_an_error(number):
    with playground(f"--target=127.0.0.1:{free_port()}") as running:
        running.process.send_signal(number)
        assert running.process.wait(PATIENCE) == 0
    assert len(running.lines) == 1
    assert "Ctrl-C" in running.lines[0]


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("playground", f"--port={taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "is in use; give another with --port" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target=a:1", "--target=b:2"], "at most one --target"),
        (["--target=http://x:1?y"], "is not the URL of a server"),
        (["--images=nowhere.npz"], "cannot read nowhere.npz: no such file or folder"),
        (["--images=empty"], "no image file in folder empty"),
        (["--images=other"], "other has no PNG or JPEG file"),
        (["--images=floats.npz"], "cannot show floats.npz: give a folder, or an array uint8"),
        (["--images=labels.npz"], "one whole number for each"),
        (["--model="], "the model name is empty"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "image.webp").write_bytes(b"RIFF")
    np.savez(tmp_path / "floats.npz", images=np.zeros((1, 28, 28)))
    np.savez(tmp_path / "labels.npz", images=np.zeros((2, 28, 28), "u1"), labels=np.zeros(3, int))
    done = run("playground", "--port=0", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_addresses_are_listened_on_with_a_warning():
    with playground("--host=0.0.0.0", f"--target=127.0.0.1:{free_port()}") as running:
        assert running.url.startswith("http://localhost:")
        assert running.get("/").status_code == 200
    assert "has no password" in running.lines[1]


def test_a_folder_of_images_is_evaluated(models, images, tmp_path):
    """Colour photographs of any size, in folders named like the classes."""
    for number, name in enumerate(["T-shirt_top", "Ankle boot", "Umbrella"]):
        (tmp_path / name).mkdir()
        Image.fromarray(images[number]).convert("RGB").resize((90, 70)).save(tmp_path / name / f"{number}.jpg")
    with playground("--target", models.grpc, "--images", str(tmp_path)) as running:
        listed = running.get("/api/samples").json()
        assert (listed["name"], listed["count"], listed["labelled"]) == (tmp_path.name, 3, True)
        _, line = running.post("/api/evaluate").text.splitlines()
        assert '"truth": [9, 0, -1]' in line
        assert running.get("/api/samples/0.png").headers["Content-Type"] == "image/png"


def test_a_broken_image_in_a_folder_is_named(models, tmp_path):
    (tmp_path / "Bag").mkdir()
    (tmp_path / "Bag" / "broken.png").write_bytes(b"no image")
    with playground("--target", models.grpc, "--images", str(tmp_path)) as running:
        *_, line = running.post("/api/evaluate").text.splitlines()
        assert "broken.png: this file is neither PNG nor JPEG" in line
        assert running.get("/api/samples/0.png").status_code == 400


def test_an_archive_without_labels_is_shown_and_not_evaluated(models, images, tmp_path):
    np.savez(tmp_path / "test.npz", images=images[:4])
    with playground("--target", models.grpc, "--images", str(tmp_path / "test.npz")) as running:
        assert running.post("/api/classify", sample=2).status_code == 200
        refused = running.post("/api/evaluate")
        assert refused.status_code == 400
        assert "no labels" in refused.json()["error"]


def test_without_test_images_the_page_works(models, tmp_path):
    with playground("--target", models.grpc, HANGTAG_DATA=str(tmp_path)) as running:
        assert running.get("/api/samples").json() == {"name": "", "count": 0, "items": [], "labelled": False}
        assert running.post("/api/classify", sample=0).status_code == 400
