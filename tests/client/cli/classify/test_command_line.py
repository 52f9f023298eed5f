"""`hangtag classify` as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import subprocess

import numpy as np
import pytest
from PIL import Image

from hangtag import Client
from support import free_port, run


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Six pictures, some of them in a folder of their own, and all of them as arrays."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for number in range(6):
        place = folder / "more" if number > 3 else folder
        Image.fromarray(images[number]).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    np.save(folder / "all.npy", images[:1200])
    np.savez(folder / "all.npz", images=images[:7], labels=np.arange(7))
    return folder


@pytest.fixture(scope="module")
def expected(images, server):
    with Client(server.grpc, timeout=60) as client:
        return client.classify(images[:1200]).labels.tolist()


def lines(*arguments: str, **options) -> list[dict]:
    done = run("classify", *arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_folders_globs_arrays_and_files_mix(server, folder, expected):
    found = lines(str(folder), str(folder / "[01].png"), str(folder / "all.npz"), "--target", server.grpc)
    assert [row["label"] for row in found] == expected[:6] + expected[:2] + expected[:7]
    assert [row["image"] for row in found[4:8]] == [
        str(folder / "more" / "4.png"),
        str(folder / "more" / "5.png"),
        str(folder / "0.png"),
        str(folder / "1.png"),
    ]
    assert found[-1]["image"] == f"{folder / 'all.npz'}[6]"
    assert found[0]["model_version"] == 1


def test_csv_and_table(server, folder, expected):
    done = run("classify", str(folder / "all.npy"), "--target", server.rest, "--csv", "--top=2")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["image", "model_version", "label", "score", "label_2", "score_2"]
    assert [row[2] for row in rows[1:]] == expected
    table = run("classify", str(folder), "--target", server.grpc, "--top=2").stdout.splitlines()
    assert len(table) == 6
    assert table[0].split("  ")[0].strip() == str(folder / "0.png")
    assert expected[0] in table[0]


@pytest.mark.parametrize("what", ["0.png", "all.npy", "all.npz", "names"])
def test_standard_input(server, folder, expected, what):
    """An image, an array, an archive, or names of files."""
    content = "\n".join(str(folder / f"{n}.png") for n in (0, 1)).encode() if what == "names" else None
    done = subprocess.run(
        ["hangtag", "classify", "-", "--target", server.grpc, "--json"],
        input=content or (folder / what).read_bytes(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert found == expected[: {"0.png": 1, "all.npy": 1200, "all.npz": 7, "names": 2}[what]]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_an_interrupted_run_goes_on_where_it_left_off(server, folder, tmp_path, ending):
    """The file is as one run would have written it, and nothing is classified twice."""
    whole, broken = tmp_path / f"whole.{ending}", tmp_path / f"broken.{ending}"
    source = str(folder / "all.npy")
    assert run("classify", source, "--target", server.grpc, "--output", str(whole)).returncode == 0
    text = whole.read_bytes()
    cut = text[: len(text) // 2]
    assert not cut.endswith(b"\n")
    broken.write_bytes(cut)
    refused = run("classify", source, "--target", server.grpc, "--output", str(broken))
    assert (refused.returncode, refused.stderr) == (
        2,
        f"hangtag: {broken} exists: continue it with --resume, or remove it\n",
    )
    assert broken.read_bytes() == cut
    assert run("classify", source, "--target", server.grpc, "--output", str(broken), "--resume").returncode == 0
    assert broken.read_bytes().count(b"\n") == text.count(b"\n")
    assert broken.read_bytes()[: len(cut)] == cut
    names = [line.split(b",")[0] for line in broken.read_bytes().splitlines()]
    assert names == [line.split(b",")[0] for line in text.splitlines()]
    # Done already: no request is sent.
    again = run("classify", source, "--target", f"localhost:{free_port()}", "--output", str(broken), "--resume")
    assert again.returncode == 0
    other = run("classify", str(folder), "--target", server.grpc, "--output", str(broken), "--resume")
    assert other.returncode == 2
    assert "has rows of other images, from row 1 on" in other.stderr


def test_a_run_that_fails_leaves_no_empty_file(folder, tmp_path):
    output = tmp_path / "out.csv"
    done = run("classify", str(folder), "--target", f"127.0.0.1:{free_port()}", "--output", str(output))
    assert done.returncode == 1
    assert done.stderr.startswith("hangtag: no answer from 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
    assert not output.exists()


REFUSED = [
    (["no.png"], "cannot read no.png: no such file or folder"),
    ([""], "the name of an image is empty: give a file, or . for the current folder"),
    (["*.nothing"], "no file matches *.nothing"),
    (["{folder}/notes.txt"], "{folder}/notes.txt is neither PNG nor JPEG"),
    (["{folder}", "--top=0"], "--top is 0: give 1 or more"),
    (["{folder}", "--resume"], "--resume continues a file: name it with --output"),
    (["{folder}/all.npy", "--plot=x.png"], "--plot draws at most 60 images, and there are 1,200"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message[:25] for _, message in REFUSED])
def test_bad_input_is_one_sentence_and_exit_code_2(server, folder, arguments, message):
    done = run("classify", *(part.format(folder=folder) for part in arguments), "--target", server.grpc)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message.format(folder=folder) in done.stderr


def test_arrays_that_hold_no_images(server, tmp_path):
    np.save(tmp_path / "flat.npy", np.arange(5))
    np.savez(tmp_path / "two.npz", x=np.zeros((1, 28, 28)), y=np.zeros(1))
    (tmp_path / "broken.npy").write_bytes(b"nothing of the kind")
    for name, message in {
        "flat.npy": "holds int64 [5]: give images [N, height, width]",
        "two.npz": "holds x, y: name the one to classify `images`",
        "broken.npy": "cannot read",
    }.items():
        done = run("classify", str(tmp_path / name), "--target", server.grpc)
        assert done.returncode == 2
        assert message in done.stderr


def test_the_plot_shows_arrays_too(server, folder, tmp_path):
    done = run("classify", str(folder / "all.npz"), "--target", server.grpc, f"--plot={tmp_path / 'plot.png'}")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.size == (1200, 600)


def test_photographs_are_prepared(server, images, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(255 - images[0]).resize((280, 280)).save(photo)
    (row,) = lines(str(photo), "--target", server.grpc, "--prepare=photo")
    assert row["label"] == "Ankle boot"
