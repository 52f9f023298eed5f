"""The tutorial's pictures, drawn from what an export knows: no display needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hangtag import Classification, fonts
from hangtag.plots import draw_bars, draw_image, draw_predictions, new_figure, save

from .data.dataset import Dataset
from .training.evaluation import Evaluation

_SIDE = 5  # the training images are shown five by five
_SHOWN = 15  # predictions, five rows of three


History = Mapping[str, Sequence[float]]
"""Figures by name, a number an epoch."""

_CHINESE = {
    "pixel value": "像素值",
    "training": "训练",
    "validation": "验证",
    "epoch": "轮数",
    "loss": "损失",
    "accuracy": "准确率",
    "predicted": "预测",
    "true": "真实",
}
"""What is written beside the axes, for language "zh"."""


def check_fonts(class_names: Sequence[str], language: str) -> None:
    """Raise InvalidInput now if these names, or the words beside them, could not be drawn later."""
    fonts.check([*class_names, *_words(language).values()])


def draw_all(
    folder: Path, dataset: Dataset, class_names: Sequence[str], found: Evaluation, history: History, language: str
) -> list[Path]:
    """Draw every picture into `folder`, with these class names, and words of `language` beside; returns the files."""
    words = _words(language)
    result = Classification(found.probabilities, tuple(class_names))
    files = [
        folder / f"{name}.png"
        for name in ("first-image", "training-images", "training", "prediction", "predictions", "confusion-matrix")
    ]
    with fonts.legible([*class_names, *words.values()]):
        draw_first_image(dataset.train_images[0], files[0], words)
        draw_training_images(dataset, class_names, files[1])
        draw_training(history, files[2], words)
        draw_prediction(dataset.test_images[0], result[:1], int(dataset.test_labels[0]), files[3])
        shown = slice(min(_SHOWN, len(dataset.test_images)))
        truth = dataset.test_labels[shown].tolist()
        draw_predictions(list(dataset.test_images[shown]), result[shown], files[4], truth=truth)
        draw_confusion(found.confusion, class_names, files[5], words)
    return files


def _words(language: str) -> dict[str, str]:
    return _CHINESE if language == "zh" else {word: word for word in _CHINESE}


def draw_first_image(image: np.ndarray, file: Path, words: Mapping[str, str]) -> None:
    """One uint8 image; of a grey one the pixel values by colour, which run from 0 to 255."""
    figure = new_figure(5, 4)
    axes = figure.subplots()
    drawn = axes.imshow(image)
    if image.ndim == 2:
        figure.colorbar(drawn, label=words["pixel value"])
    save(figure, file)


def draw_training_images(dataset: Dataset, class_names: Sequence[str], file: Path) -> None:
    """Up to 25 training images with their names: the first, or a cross-section where they are sorted by class."""
    count = min(_SIDE * _SIDE, len(dataset.train_images))
    places = np.arange(count)
    if (np.diff(dataset.train_labels) >= 0).all():
        places = np.linspace(0, len(dataset.train_images) - 1, count).round().astype(int)
    figure = new_figure(10, 10)
    for axes, place in zip(figure.subplots(_SIDE, _SIDE).ravel(), places, strict=False):
        axes.imshow(dataset.train_images[place], cmap="binary")
        axes.set_xlabel(class_names[dataset.train_labels[place]])
    for number, axes in enumerate(figure.axes):
        axes.set(xticks=[], yticks=[], visible=number < count)
    save(figure, file)


def draw_training(history: History, file: Path, words: Mapping[str, str]) -> None:
    """Loss and accuracy by epoch, of the training images and, where there are any, of the validation images."""
    figure = new_figure(10, 4)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, images in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                axes.plot(range(1, len(history[key]) + 1), history[key], marker="o", label=words[images])
        axes.set(xlabel=words["epoch"], title=words[name])
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, file)


def draw_prediction(image: np.ndarray, result: Classification, actual: int, file: Path) -> None:
    """One image, what it was taken for, and the probability of every class by name."""
    figure = new_figure(8, 4)
    picture, bars = figure.subplots(1, 2)
    draw_image(picture, image, result[0], actual)
    draw_bars(bars, result[0], actual)
    save(figure, file)


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str], file: Path, words: Mapping[str, str]) -> None:
    """How many images of each true class (rows) were taken for which (columns); shaded by the part of the row."""
    count = len(class_names)
    side = max(4.5, 1.5 + 0.65 * count)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    parts = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), class_names, rotation=60, ha="right")
    axes.set_yticks(range(count), class_names)
    axes.set(xlabel=words["predicted"], ylabel=words["true"])
    if count <= 30:  # beyond that the numbers would not be legible
        for (row, column), images in np.ndenumerate(confusion):
            shade = "white" if parts[row, column] > 0.5 else "black"
            axes.text(column, row, str(images), ha="center", va="center", color=shade, fontsize=8)
    save(figure, file)
