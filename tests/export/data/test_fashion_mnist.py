"""Fashion-MNIST is found, checked, fetched, or its absence explained."""

from __future__ import annotations

import functools
import gzip
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from hangtag.cli.main import main
from hangtag_export.data import fashion_mnist
from hangtag_export.data.fashion_mnist import CHECKSUMS, load_fashion_mnist
from hangtag_export.errors import DataError


@pytest.fixture
def folder(dataset, tmp_path) -> Path:
    """A folder of its own with the four files."""
    made = tmp_path / "data"
    made.mkdir()
    for path in Path(dataset.origin).glob("*-ubyte*"):
        (made / path.name).symlink_to(path)
    return made


@pytest.fixture
def nowhere(monkeypatch, tmp_path) -> Path:
    """A machine with an empty cache, without the package, without a network; returns the cache."""
    monkeypatch.delenv("HANGTAG_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "PACKAGE_FOLDER", tmp_path / "none")
    monkeypatch.setattr(fashion_mnist, "URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("PATH", "")
    return tmp_path / "cache" / "hangtag"


def test_the_data_is_the_real_one(dataset):
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    assert dataset.train_images.dtype == np.uint8
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert dataset.class_names[dataset.test_labels[0]] == "Ankle boot"


def test_a_given_folder_is_used(folder, monkeypatch):
    assert load_fashion_mnist(str(folder)).origin == str(folder)
    monkeypatch.setenv("HANGTAG_DATA", str(folder))
    assert load_fashion_mnist().origin == str(folder)


def test_a_given_folder_that_lacks_a_file_is_not_replaced_by_another(folder):
    next(folder.glob("t10k-labels*")).unlink()
    with pytest.raises(DataError, match="has no t10k-labels-idx1-ubyte"):
        load_fashion_mnist(str(folder))


def test_a_wrong_checksum_names_the_file(folder, capsys):
    file = folder / "t10k-labels-idx1-ubyte.gz"
    file.unlink()
    file.write_bytes(gzip.compress(b"\0" * 10_008))
    assert main(["export", "--data-dir", str(folder), "--base-path", str(folder / "models")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hangtag: {file} is not Fashion-MNIST's t10k-labels-idx1-ubyte: SHA-256 ")
    assert not (folder / "models").exists()


def test_a_cut_file_names_the_file(folder):
    file = folder / "t10k-images-idx3-ubyte.gz"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:1000])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz cannot be read"):
        load_fashion_mnist(str(folder))


def test_no_network_and_no_package_is_one_sentence(nowhere):
    with pytest.raises(DataError) as caught:
        load_fashion_mnist()
    message = str(caught.value)
    assert "no connection" in message
    assert "no apt-get here" in message
    assert "--data-dir" in message
    assert not list(nowhere.iterdir())


def test_it_is_fetched_once_and_then_cached(nowhere, dataset, monkeypatch, folder):
    """From the first address that has it, over a real connection; half a download leaves nothing in the cache."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        monkeypatch.setattr(fashion_mnist, "URL", f"http://127.0.0.1:{web.server_port}/")
        broken = folder / "t10k-images-idx3-ubyte.gz"
        broken.rename(folder / "kept")
        with pytest.raises(DataError, match="404"):
            load_fashion_mnist()
        assert not list(nowhere.iterdir())
        (folder / "kept").rename(broken)
        lines: list[str] = []
        fetched = load_fashion_mnist(say=lines.append)
        web.shutdown()
    assert lines == [f"downloading Fashion-MNIST from {fashion_mnist.URL}"]
    assert fetched.origin == str(nowhere)
    assert (fetched.test_images == dataset.test_images).all()
    assert sorted(path.name for path in nowhere.iterdir()) == sorted(f"{name}.gz" for name in CHECKSUMS)
    assert load_fashion_mnist().origin == str(nowhere)  # the web server is gone


def test_the_command_says_where_the_data_is_and_saves_the_test_images(dataset, folder, tmp_path, capsys):
    file = tmp_path / "test.npz"
    assert main(["data", f"--data-dir={folder}", f"--save={file}"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [str(folder), f"saved {file}"]
    with np.load(file) as saved:
        assert np.array_equal(saved["images"], dataset.test_images)
        assert np.array_equal(saved["labels"], dataset.test_labels)
        assert tuple(saved["class_names"]) == dataset.class_names
    assert [path.name for path in tmp_path.glob("*.npz*")] == ["test.npz"]
    assert main(["data", f"--data-dir={folder}", f"--save={tmp_path / 'nowhere' / 'test.npz'}"]) == 2
    assert "there is no folder" in capsys.readouterr().err


APT_GET = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  "download dataset-fashion-mnist") echo "E: Unable to locate package" >&2; exit 100 ;;
  download*) cp {package} . ;;
esac
"""
"""An apt-get whose machine has no package lists, and which can fetch lists of the caller's own."""


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_debians_package_is_unpacked_where_keras_address_is_out_of_reach(
    nowhere, dataset, folder, tmp_path, monkeypatch
):
    """A real package with the real files, without root; nothing of it is left but the four files in the cache."""
    tree, tools = tmp_path / "tree", tmp_path / "tools"
    shutil.copytree(folder, tree / fashion_mnist.PACKAGE_FOLDER.relative_to("/"))
    (tree / "DEBIAN").mkdir()
    control = "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: files\n"
    (tree / "DEBIAN" / "control").write_text(control)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.defpath}")
    package = tmp_path / "dataset-fashion-mnist_1_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", tree, package], check=True, capture_output=True)
    tools.mkdir()
    (tools / "apt-get").write_text(APT_GET.format(log=tmp_path / "asked", package=package))
    (tools / "apt-get").chmod(0o755)
    fetched = load_fashion_mnist()
    assert fetched.origin == str(nowhere)
    assert (fetched.test_labels == dataset.test_labels).all()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["download", "update", "download"]
    assert sorted(path.name for path in nowhere.iterdir()) == sorted(f"{name}.gz" for name in CHECKSUMS)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
