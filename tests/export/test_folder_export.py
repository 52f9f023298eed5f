"""From a folder of colour images, with names in Chinese, to class names from a server; with all pictures drawn."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image

from hangtag import Client, InvalidInput
from hangtag.fashion_mnist import translate
from hangtag_export import evaluation, plots
from shortened import shortened
from support import run, serving

NAMES = ("包", "短靴", "裤子")
LABELS = {8: "包", 9: "短靴", 1: "裤子"}
TINTS = {8: (1.0, 0.4, 0.4), 9: (0.4, 1.0, 0.4), 1: (0.4, 0.4, 1.0)}


def make_font(folder: Path, characters: str) -> None:
    """Install a font that has these characters, as small boxes, for programs that run with XDG_DATA_HOME=`folder`."""
    pen = TTGlyphPen(None)
    for move, point in ((pen.moveTo, (100, 0)), (pen.lineTo, (100, 800)), (pen.lineTo, (900, 800))):
        move(point)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "box"])
    font.setupCharacterMap({ord(character): "box" for character in characters})
    font.setupGlyf({".notdef": pen.glyph(), "box": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "box": (1000, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    (folder / "fonts").mkdir(parents=True)
    font.save(folder / "fonts" / "Boxes.ttf")


@pytest.fixture(scope="module")
def pictures(dataset, tmp_path_factory) -> Path:
    """Three classes of tinted Fashion-MNIST images as PNG and JPEG, of several sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for label, name in LABELS.items():
        (folder / name).mkdir()
        for number, image in enumerate(dataset.train_images[dataset.train_labels == label][:60]):
            colours = (image[..., np.newaxis] * np.array(TINTS[label])).astype(np.uint8)
            size = (28 + number % 9, 24 + number % 5)
            ending = ("png", "jpg")[number % 2]
            Image.fromarray(colours).resize(size).save(folder / name / f"{number}.{ending}", quality=95)
    return folder


@pytest.fixture(scope="module")
def colour(pictures, tmp_path_factory) -> Path:
    """A folder with version 2, of a model for colour images, under `fashion`, its `plots` and TensorBoard's logs.

    Version 1, which no config names, was removed for it.
    """
    folder = tmp_path_factory.mktemp("colour")
    make_font(folder / "data", "".join(NAMES))
    (folder / "fashion" / "1").mkdir(parents=True)
    done = run(
        "export",
        f"--dataset={pictures}",
        "--color",
        "--image-size=20x24",
        "--epochs=6",
        "--batch-size=8",
        "--validation-split=0.1",
        "--min-accuracy=0.8",
        "--replace",
        "--keep=1",
        "--config=none",
        f"--tensorboard={folder / 'tensorboard'}",
        f"--base-path={folder / 'fashion'}",
        f"--plots={folder / 'plots'}",
        f"--keras={folder / 'model.h5'}",
        "--hidden=32",
        env=os.environ | {"XDG_DATA_HOME": str(folder / "data")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "removed 1\n" in done.stdout
    assert [path.name for path in (folder / "fashion").glob("[0-9]*")] == ["2"]
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    return folder


def test_class_names_come_back_for_files_and_for_arrays(colour, pictures, tmp_path):
    files = sorted(pictures.rglob("*.*"))
    with serving(colour / "fashion", tmp_path / "log") as server:
        for target in (server.grpc, server.rest):
            with Client(target, timeout=60) as client:
                assert tuple(client.labels()) == NAMES
                assert client.metadata().signatures["serving_default"].inputs["images"].shape == (None, 20, 24, 3)
                named = client.classify(files)
                right = [label == file.parent.name for label, file in zip(named.labels, files, strict=True)]
                assert np.mean(right) > 0.9
                sized = np.stack([np.asarray(Image.open(file).convert("RGB").resize((24, 20))) for file in files])
                assert (client.classify(sized).labels == named.labels).mean() > 0.9


def test_the_card_says_what_was_trained(colour, pictures):
    card = json.loads((colour / "fashion" / "2" / "assets.extra" / "hangtag.json").read_text())
    assert card["class_names"] == list(NAMES)
    assert card["image_shape"] == [20, 24, 3]
    assert card["dataset"] == pictures.name
    assert card["hidden"] == [32]
    assert card["epochs"] == 6
    assert card["per_class"]["包"]["images"] == 12
    assert np.sum(card["confusion_matrix"]) == 36
    assert np.trace(card["confusion_matrix"]) / 36 == pytest.approx(card["test_accuracy"])


def test_every_picture_is_drawn_and_every_epoch_logged(colour):
    sizes = {}
    for file in (colour / "plots").glob("*.png"):
        with Image.open(file) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10, "there is something to see"
            sizes[file.stem] = picture.size
    assert sizes.keys() == {
        "first-image",
        "training-images",
        "training",
        "prediction",
        "predictions",
        "confusion-matrix",
    }
    assert sizes["predictions"][0] == 1200, "rows of three"
    with (colour / "plots" / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= rows[0].keys()


def test_in_chinese_the_axes_are_too(dataset, tmp_path, monkeypatch):
    """And a font is asked for all that is written, not for the names alone."""
    names = translate(dataset.class_names, "zh")
    shown = shortened(dataset, train=25)
    found = evaluation.compare(
        np.eye(10, dtype=np.float32)[dataset.test_labels], dataset.test_labels, dataset.class_names
    )
    history = {"loss": [2.0, 1.0], "accuracy": [0.1, 0.2], "val_loss": [2.0, 1.5], "val_accuracy": [0.1, 0.15]}
    make_font(tmp_path / "names", "".join(names))
    make_font(tmp_path / "all", "".join([*names, *plots._CHINESE.values()]) + "0123456789/.%<")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "names" / "fonts" / "Boxes.ttf")])
    with pytest.raises(InvalidInput, match="no installed font has the characters"):
        plots.check_fonts(names, "zh")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "all" / "fonts" / "Boxes.ttf")])
    plots.check_fonts(names, "zh")
    figures = {}
    monkeypatch.setattr(plots, "save", lambda figure, file: figures.update({file.stem: figure}))
    plots.draw_all(tmp_path, shown, found, history, "zh")
    confusion, bar = figures["confusion-matrix"].axes
    assert (confusion.get_xlabel(), confusion.get_ylabel()) == ("预测类别", "真实类别")
    assert bar.get_ylabel() == "占该真实类别的比例"
    assert [axes.get_title() for axes in figures["training"].axes] == ["损失", "准确率"]
    assert {axes.get_xlabel() for axes in figures["training"].axes} == {"轮数"}
    assert [text.get_text() for text in figures["training"].axes[0].get_legend().get_texts()] == ["训练", "验证"]
    assert figures["first-image"].axes[1].get_ylabel() == "像素值"


@pytest.mark.parametrize("flag", ["--plots", "--tensorboard"])
def test_a_file_where_a_folder_must_be_is_bad_usage(flag, tmp_path):
    file = tmp_path / "text.png"
    file.write_text("a file")
    done = run("export", f"--base-path={tmp_path / 'fashion'}", f"{flag}={file}")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"hangtag: {flag} needs a folder, but {file} cannot be one: File exists"]
    assert "epoch" not in done.stdout
    assert not (tmp_path / "fashion").exists()


def test_without_a_font_that_has_the_names_nothing_is_trained(pictures, tmp_path):
    """One sentence, before the training, that names a package to install."""
    done = run(
        "export",
        f"--dataset={pictures}",
        f"--base-path={tmp_path / 'fashion'}",
        f"--plots={tmp_path / 'plots'}",
        # With matplotlib's list of fonts, or it would print that making one takes a moment.
        env=os.environ | {"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path), "MPLCONFIGDIR": mpl.get_cachedir()},
    )
    if done.returncode == 0:  # this machine has such a font
        assert any(set("包短靴裤子") <= characters for characters in map(_characters, font_manager.findSystemFonts()))
        return
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "fonts-noto-cjk" in done.stderr
    assert "epoch" not in done.stdout
    assert not (tmp_path / "fashion").exists()


def _characters(file: str) -> set[str]:
    try:
        return set(map(chr, FT2Font(file).get_charmap()))
    except RuntimeError:
        return set()
