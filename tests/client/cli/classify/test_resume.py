"""`hangtag classify --output FILE --resume`: what an earlier run left, whole or cut off, and what it did not leave."""

from __future__ import annotations

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import Classification, InvalidInput
from hangtag.cli.classify import output, resume
from hangtag.fashion_mnist import CLASS_NAMES
from support import free_port, run

NO_SERVER = f"127.0.0.1:{free_port()}"
NAMES = ["plain.png", 'a,"b".png', "two\nlines.png", "carriage\rreturn.png", "ümlaut.png", "\udcff.png", "\u2028.png"]


@pytest.fixture(scope="module")
def target():
    """A model whose classes have the names of Fashion-MNIST's, and depend on the first pixel."""
    names = Signature(
        FIRST_PIXEL["labels"].inputs,
        FIRST_PIXEL["labels"].outputs,
        lambda index: {"class_name": np.array([CLASS_NAMES[n].encode() for n in index], object)},
    )
    with model_server(Model({**FIRST_PIXEL, "labels": names}), "grpc") as target:
        yield target


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A picture of each of NAMES; image n is of class n."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        Image.fromarray(np.full((28, 28), number, np.uint8)).save(name)
    return tmp_path


def written(path, kind, count, top=2):
    """The file of a run over the first images."""
    result = Classification(np.eye(10, dtype="f4")[:count], tuple(CLASS_NAMES), model_version=3)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        output.make(kind, file, top, width=0, header=True).write(NAMES[:count], result)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_cut_off_anywhere_keeps_its_whole_rows(tmp_path, kind):
    """Names with commas, quotes, newlines and bytes that are no UTF-8 are read back as they were."""
    path = tmp_path / "rows"
    ends = [len(written(path, kind, count)) for count in range(len(NAMES) + 1)]
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = resume.read(path, kind, 2, NAMES.__getitem__, len(NAMES))
        images = max((count for count, end in enumerate(ends) if end <= cut), default=0)
        assert (found.images, found.size) == (images, ends[images] if cut >= ends[0] else 0), whole[:cut]
        assert path.read_bytes() == whole[:cut]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_run_goes_on_wherever_it_was_cut_off(target, folder, ending):
    """The file is as one run would have written it: one header, and each image once."""
    command = ["classify", *NAMES, "--target", target, "--output"]
    done = run(*command, f"whole.{ending}")
    assert done.returncode == 0, done.stderr
    whole = (folder / f"whole.{ending}").read_bytes()
    with (folder / f"whole.{ending}").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        found = list(csv.DictReader(file)) if ending == "csv" else [json.loads(line) for line in file]
    assert [(row["image"], row["label"]) for row in found] == list(zip(NAMES, CLASS_NAMES, strict=False))
    for cut in (0, 20, 35, whole.index(b"two") + 4, len(whole) - 1):
        part = folder / f"part{cut}.{ending}"
        part.write_bytes(whole[:cut])
        done = run(*command, str(part), "--resume")
        assert (done.returncode, done.stderr) == (0, "")
        assert part.read_bytes() == whole


FOREIGN = [
    ("prec.json", b'{"precision": 0.9}'),
    ("prices.csv", b"id,price\n"),
    ("prices.csv", b"id,price"),
    ("prices.csv", b"image,model_version,label,score\n1,2"),
    ("truth.jsonl", b'{"image": "plain.png", "label": "Bag"}\n'),
    ("truth.jsonl", b'{"image": "plain.png", "truth"'),
    ("list.jsonl", b"[1, 2]\n"),
    ("deep.jsonl", b"[" * 100_000 + b"\n"),
    ("bytes.jsonl", b"\x00\xff\n"),
    ("quote.csv", b'image,model_version,label,score\n"plain.png,1,Bag,1\nother.png,1,Bag,1\n'),
]


@pytest.mark.parametrize(("name", "content"), FOREIGN, ids=[content[:30] for _, content in FOREIGN])
def test_a_file_that_no_run_wrote_is_refused_and_left_alone(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    done = run("classify", *NAMES, "--target", NO_SERVER, "--output", name, "--resume")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "give another --output" in done.stderr
    assert path.read_bytes() == content


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_is_refused(folder, what):
    os.mkfifo("rows.csv") if what == "pipe" else (folder / "rows.csv").mkdir()
    done = run("classify", *NAMES, "--target", NO_SERVER, "--output", "rows.csv", "--resume")
    assert (done.returncode, done.stderr) == (2, "hangtag: rows.csv is not a file: give another --output\n")


@pytest.mark.parametrize(
    ("ending", "flag", "message"),
    [
        ("csv", "--top=3", "does not start with the columns of --top 3"),
        ("csv", "--top=1", "does not start with the columns of --top 1"),
        ("jsonl", "--top=3", "has the best 2 classes of each image: give --top 2"),
        ("jsonl", "--top=1", "has the best 2 classes of each image: give --top 2"),
        ("csv", "--language=zh", "has the class 'Pullover', which the model does not have"),
        ("jsonl", "--language=zh", "has the class 'Pullover', which the model does not have"),
    ],
)
def test_rows_of_other_columns_or_names_are_not_mixed(target, folder, ending, flag, message):
    path = folder / f"rows.{ending}"
    content = written(path, "csv" if ending == "csv" else "json", 3)
    done = run("classify", *NAMES, "--target", target, "--output", path.name, "--resume", "--top=2", flag)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_more_classes_than_the_model_has_can_be_asked_for_again(tmp_path, kind):
    """Every row of CSV has the header's cells, and such a file is gone on with."""
    path, result = tmp_path / "rows", Classification(np.eye(10, dtype="f4")[:2], tuple(CLASS_NAMES))
    written(path, kind, 2, top=20)
    found = resume.read(path, kind, 20, NAMES.__getitem__, len(NAMES))
    assert (found.images, len(found.labels)) == (2, 10)
    found.check(result, 20)
    with pytest.raises(InvalidInput, match="the best 10 classes"):
        found.check(result, 5)
    if kind == "csv":
        assert {len(row) for row in csv.reader(path.read_text().splitlines())} == {42}


def test_an_output_of_this_run_alone_is_removed_when_nothing_was_answered(folder):
    written(folder / "old.csv", "csv", 3)
    shutil.copy("old.csv", "kept.csv")
    for name, flags in (("new.csv", []), ("kept.csv", ["--resume", "--top=2"])):
        done = run("classify", *NAMES, "--target", NO_SERVER, "--output", name, *flags)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert not (folder / "new.csv").exists()
    assert (folder / "kept.csv").read_bytes() == (folder / "old.csv").read_bytes()
