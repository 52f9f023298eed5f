"""Standard output that is full, closed, or of another encoding is one line and an exit code."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from fake_server import FIRST_PIXEL, Model, Refused, Signature, model_server
from hangtag import Classification, InvalidInput, fashion_mnist
from hangtag.plots import draw_predictions
from support import HANGTAG, run


@pytest.fixture(scope="module")
def target():
    """A model with the class names of Fashion-MNIST."""
    plain = FIRST_PIXEL["labels"]
    names = [name.encode() for name in fashion_mnist.CLASS_NAMES]
    named = Signature(plain.inputs, plain.outputs, lambda index: {"class_name": np.array(names, object)[index]})
    with model_server(Model({**FIRST_PIXEL, "labels": named}), "grpc") as target:
        yield target


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("array") / "images.npy"
    np.save(path, np.zeros((3, 28, 28), np.uint8))
    return str(path)


def shell(redirection, *arguments, **environment):
    """Run the command with its streams as the shell's `redirection` has them."""
    unset = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *HANGTAG, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        env=unset | environment,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["classify", "labels", "status", "wait", "bench"])
def test_a_full_disk_is_one_line(target, array, command, unbuffered):
    given = {"classify": [array], "bench": ["--duration=0.1", "--warm-up=0", "--concurrency=1"]}.get(command, [])
    done = shell("> /dev/full", command, *given, "--target", target, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == b"hangtag: cannot read or write the output: No space left on device\n"
    assert done.returncode == 1


def test_help_on_a_full_disk_is_one_line():
    done = shell("> /dev/full", "--help")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("command", ["classify", "labels"])
def test_closed_standard_output_is_one_line(target, array, command):
    done = shell(">&-", command, *([array] if command == "classify" else []), "--target", target)
    assert done.stderr == b"hangtag: standard output is closed: send it to a file, or to /dev/null\n"
    assert done.returncode == 1


def test_closed_standard_error_does_no_harm(target, array):
    done = shell("2>&-", "classify", array, "--target", target)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 3)
    done = shell("2>&-", "classify", "gone.npy", "--target", target)
    assert (done.returncode, done.stdout) == (2, b"")


def test_closed_standard_input_is_one_line(target):
    done = shell("<&-", "classify", "-", "--target", target)
    assert (done.returncode, done.stderr) == (2, b"hangtag: standard input is closed\n")


def test_an_encoding_without_the_class_names_is_one_line(target, array):
    """JSON needs none of them."""
    command = ["classify", array, "--target", target, "--language=zh"]
    done = shell("", *command, PYTHONIOENCODING="ascii")
    assert done.stderr == b"hangtag: cannot write '\\u6064' as ascii: set PYTHONIOENCODING=utf-8\n"
    assert (done.returncode, done.stdout) == (1, b"")
    done = shell("", *command, "--json", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_of_several_lines_is_one_line(array):
    def hook(number):
        raise Refused("INVALID_ARGUMENT", "first\nsecond\r\n\u2028third")

    with model_server(Model(FIRST_PIXEL, hook=hook), "grpc") as target:
        done = run("classify", array, "--target", target)
    (line,) = done.stderr.splitlines()
    assert "INVALID_ARGUMENT: first second" in line
    assert "third" in line
    assert done.returncode == 2


def test_names_from_the_server_do_not_break_the_rows_of_a_table(array):
    plain = FIRST_PIXEL["labels"]
    named = Signature(
        plain.inputs, plain.outputs, lambda index: {"class_name": np.array([b"a\nb\x1b[2J"] * len(index), object)}
    )
    with model_server(Model({**FIRST_PIXEL, "labels": named}), "grpc") as target:
        done, labels = run("classify", array, "--target", target), run("labels", "--target", target)
    assert [line.split()[1] for line in done.stdout.splitlines()] == [r"a\nb\x1b[2J"] * 3
    assert labels.stdout.splitlines() == [r"a\nb\x1b[2J"] * 10


def test_no_images_are_no_picture(tmp_path, target):
    np.save(tmp_path / "none.npy", np.zeros((0, 28, 28), np.uint8))
    done = run("classify", str(tmp_path / "none.npy"), f"--plot={tmp_path / 'plot.png'}", "--target", target)
    assert (done.returncode, done.stderr) == (2, "hangtag: --plot has no images to draw\n")
    with pytest.raises(InvalidInput, match="there are no images to draw"):
        draw_predictions([], Classification(np.zeros((0, 2), "f4"), ("bag", "boot")), tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()
