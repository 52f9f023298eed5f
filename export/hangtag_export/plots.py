"""The tutorial's pictures as matplotlib figures: a notebook shows a returned figure, ``figure.savefig`` writes it.

No display is needed. Class names and other texts are English, or Chinese with ``language="zh"``, which needs a Chinese
font.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import Classification
from hangtag.errors import InvalidInput
from hangtag.fashion_mnist import translate
from hangtag.plots import draw_bars, draw_image, draw_predictions, fonts, new_figure, save, short, show

from .data.dataset import Dataset
from .evaluation import Evaluation

_SIDE = 5  # the training images are shown five by five
_SHOWN = 15  # predictions, five rows of three
_LEGIBLE = 20  # with more classes, the confusion matrix has no numbers
_COLOURS = {"training": "#1f5fbf", "validation": "#d9822b", "test": "#5c9e52"}

History = Mapping[str, Sequence[float]]
"""Figures by name, with one number per epoch."""

_CHINESE = {
    "pixel value": "像素值",
    "training": "训练",
    "validation": "验证",
    "test": "测试",
    "epoch": "轮数",
    "loss": "损失",
    "accuracy": "准确率",
    "predicted class": "预测类别",
    "true class": "真实类别",
    "share of the true class": "占该真实类别的比例",
    "Training images": "训练图像",
    "Confusion matrix: accuracy": "混淆矩阵：准确率",
    "{right} of {all} right. Blue: the true class; red: a wrong prediction (true class in brackets)": (
        "{all} 张中 {right} 张正确。蓝色为真实类别，红色为错误预测（括号内为真实类别）"
    ),
}
"""The texts in the figures, with their Chinese translations."""


def check_fonts(class_names: Sequence[str], language: str) -> None:
    """Raise InvalidInput if no font has these names and the texts of the figures."""
    fonts.check([*map(short, class_names), *_texts(language).values()])


def draw_all(
    folder: Path, dataset: Dataset, evaluation: Evaluation, history: History, language: str = "en"
) -> list[Path]:
    """Draw every picture into `folder` as PNG; returns the files."""
    figures = {
        "first-image": image(dataset, 0, language),
        "training-images": training_images(dataset, language),
        "training": training_curves(history, language),
        "prediction": prediction(dataset, evaluation, 0, language),
        "predictions": predictions(dataset, evaluation, language),
        "confusion-matrix": confusion_matrix(evaluation, language),
    }
    files = []
    for name, figure in figures.items():
        files.append(folder / f"{name}.png")
        save(figure, files[-1])
    return files


def image(dataset: Dataset, index: int = 0, language: str = "en") -> Any:
    """Training image `index`; for a grey one, colours show the pixel values from 0 to 255."""
    texts = _texts(language)
    name = short(translate(dataset.class_names, language)[dataset.train_labels[index]])
    pixels = dataset.train_images[index]
    with fonts.legible([name, *texts.values()]):
        figure = new_figure(5, 4)
        axes = figure.subplots()
        drawn = axes.imshow(pixels, vmin=0, vmax=255)
        axes.set_title(name)
        if pixels.ndim == 2:
            figure.colorbar(drawn, label=texts["pixel value"])
        return figure


def training_images(dataset: Dataset, language: str = "en") -> Any:
    """Up to 25 training images with their names: the first ones, or a sample of all classes if they are sorted."""
    texts, names = _texts(language), [short(name) for name in translate(dataset.class_names, language)]
    count = min(_SIDE * _SIDE, len(dataset.train_labels))
    places = np.arange(count)
    if (np.diff(dataset.train_labels) >= 0).all():
        places = np.linspace(0, len(dataset.train_labels) - 1, count).round().astype(int)
    rows = -(-count // _SIDE)
    with fonts.legible([*names, *texts.values()]):
        figure = new_figure(9, 0.6 + 1.9 * rows)
        figure.suptitle(texts["Training images"])
        for axes, place in zip(figure.subplots(rows, _SIDE, squeeze=False).ravel(), places, strict=False):
            show(axes, dataset.train_images[place])
            axes.set_xlabel(names[dataset.train_labels[place]])
        for axes in figure.axes[count:]:
            axes.set_visible(False)
        return figure


def training_curves(history: History | Mapping[str, History], language: str = "en") -> Any:
    """Loss and accuracy by epoch, on the training images and the other images; of one training, or of several by name.

    >>> figure = training_curves(training.history)  # doctest: +SKIP
    >>> figure = training_curves({"5 epochs": short.history, "30 epochs": long.history})  # doctest: +SKIP
    """
    texts = _texts(language)
    several = all(isinstance(value, Mapping) for value in history.values())
    runs: Mapping[str, Any] = history if several else {"": history}
    if not history:
        raise InvalidInput("there is no history to draw")
    with fonts.legible([*runs, *texts.values()]):
        figure = new_figure(10, 4)
        for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for number, (run, figures) in enumerate(runs.items()):
                for prefix, images in (("", "training"), ("val_", "validation"), ("test_", "test")):
                    values = figures.get(f"{prefix}{name}")
                    if values is None:
                        continue
                    style = "-" if images == "training" else "--"
                    colour = f"C{number}" if several else _COLOURS[images]
                    axes.plot(
                        range(1, len(values) + 1),
                        values,
                        style,
                        color=colour,
                        marker="o",
                        markersize=3,
                        label=f"{run} {texts[images]}".strip(),
                    )
            axes.set(xlabel=texts["epoch"], title=texts[name])
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            axes.grid(alpha=0.3)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            axes.legend(frameon=False, fontsize=8 if several else 10)
        return figure


def prediction(dataset: Dataset, evaluation: Evaluation, index: int, language: str = "en") -> Any:
    """Test image `index`, its predicted class, and the probability of every class by name."""
    result = Classification(evaluation.probabilities, tuple(translate(evaluation.class_names, language)))
    actual = int(dataset.test_labels[index])
    with fonts.legible([*map(short, result.class_names)]):
        figure = new_figure(8, 3.6)
        picture, bars = figure.subplots(1, 2)
        draw_image(picture, dataset.test_images[index], result[index], actual)
        draw_bars(bars, result[index], actual)
        bars.tick_params(labelsize=9)
        return figure


def predictions(
    dataset: Dataset, evaluation: Evaluation, language: str = "en", indices: Sequence[int] | None = None
) -> Any:
    """Test images with their predictions: those at `indices`, else 15 images of all classes, with some errors."""
    texts = _texts(language)
    places = np.array(sample(evaluation, dataset.test_labels) if indices is None else indices)
    truth = dataset.test_labels[places]
    result = Classification(evaluation.probabilities[places], tuple(translate(evaluation.class_names, language)))
    right = int((result.indices == truth).sum())
    key = "{right} of {all} right. Blue: the true class; red: a wrong prediction (true class in brackets)"
    caption = texts[key].format(right=right, all=len(places))
    images = [dataset.test_images[int(place)] for place in places]
    return draw_predictions(images, result, truth=truth.tolist(), caption=caption)


def sample(evaluation: Evaluation, labels: np.ndarray, count: int = _SHOWN) -> list[int]:
    """Positions of `count` images, sorted by class: up to a third are errors, the rest is from all classes in turn."""
    predicted = evaluation.probabilities.argmax(axis=1)
    wrong = _in_turn(np.flatnonzero(predicted != labels), labels)[: count // 3]
    right = _in_turn(np.flatnonzero(predicted == labels), labels)[: count - len(wrong)]
    chosen = wrong + right
    return sorted(chosen, key=lambda place: (labels[place], place))


def _in_turn(places: np.ndarray, labels: np.ndarray) -> list[int]:
    """`places` in another order: one of each class, then a second of each class, and so on."""
    turn: dict[int, int] = {}
    order = []
    for place in places.tolist():
        label = int(labels[place])
        turn[label] = turn.get(label, -1) + 1
        order.append((turn[label], label, place))
    return [place for _, _, place in sorted(order)]


def confusion_matrix(evaluation: Evaluation, language: str = "en") -> Any:
    """The confusion matrix: what percentage of each true class (row) was predicted as each class (column)."""
    texts = _texts(language)
    names = [short(name) for name in translate(evaluation.class_names, language)]
    count = len(names)
    parts = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    side = min(max(4.5, 1.8 + 0.62 * count), 24)
    with fonts.legible([*names, *texts.values()]):
        figure = new_figure(side + 1.2, side)
        axes = figure.subplots()
        drawn = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names)
        axes.set(xlabel=texts["predicted class"], ylabel=texts["true class"])
        axes.set_title(f"{texts['Confusion matrix: accuracy']} {evaluation.accuracy:.1%}")
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, fraction=0.046, pad=0.03, label=texts["share of the true class"])
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0%", "25%", "50%", "75%", "100%"])
        if count <= _LEGIBLE:
            for (row, column), part in np.ndenumerate(parts):
                if part:
                    text = f"{100 * part:.0f}" if part >= 0.01 else "<1"
                    shade = "white" if part > 0.5 else "black"
                    axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
        return figure


def _texts(language: str) -> dict[str, str]:
    return _CHINESE if language == "zh" else {text: text for text in _CHINESE}
