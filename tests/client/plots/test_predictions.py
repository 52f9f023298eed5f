"""Figures: named bars on a scale, the predicted class highlighted, photographs as they are."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from hangtag import Classification, InvalidInput, plots

NAMES = ("bag", "boot", "hat")
RESULT = Classification(np.array([[0.1, 0.9, 0], [0.5, 0.2, 0.3]], "f4"), NAMES)
GREY = np.arange(784, dtype=np.uint8).reshape(28, 28)


def bars(axes) -> list[tuple[str, float, str]]:
    """Class name, probability and colour of each bar, from the top."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return [
        (label, round(patch.get_width(), 4), to_hex(patch.get_facecolor()))
        for label, patch in zip(labels, axes.patches, strict=True)
    ]


def test_bars_have_names_and_a_scale_and_show_which_class_was_predicted():
    figure = plots.draw_predictions([GREY, GREY], RESULT)
    _, first, _, second = figure.axes
    assert bars(first) == [("bag", 0.1, plots.OTHER), ("boot", 0.9, plots.PREDICTED), ("hat", 0, plots.OTHER)]
    assert [colour for _, _, colour in bars(second)] == [plots.PREDICTED, plots.OTHER, plots.OTHER]
    assert [label.get_text() for label in first.get_xticklabels()] == ["0%", "", "50%", "", "100%"]
    assert figure.axes[0].get_xlabel() == "boot 90%"
    assert not figure.get_suptitle()


def test_with_the_truth_right_is_blue_and_wrong_is_red_and_a_caption_says_so():
    figure = plots.draw_predictions([GREY, GREY], RESULT, truth=[1, 2])
    right, first, wrong, second = figure.axes
    assert bars(first)[1][2] == plots.RIGHT
    assert [colour for _, _, colour in bars(second)] == [plots.WRONG, plots.OTHER, plots.RIGHT]
    assert (right.get_xlabel(), wrong.get_xlabel()) == ("boot 90% (boot)", "bag 50% (hat)")
    assert figure.get_suptitle().startswith("1 of 2 right. Blue: ")


def test_of_many_classes_the_best_ten_are_shown_and_the_true_one():
    probabilities = np.linspace(0, 0.02, 100, dtype="f4")[np.newaxis]
    names = tuple(f"class {number:02} of many with a long name" for number in range(100))
    figure = plots.draw_predictions([GREY], Classification(probabilities, names), truth=[7])
    shown = [label for label, _, _ in bars(figure.axes[1])]
    assert shown[:2] == ["class 99 of many with…", "class 98 of many with…"]
    assert len(shown) == 10
    assert shown[-1] == "class 07 of many with…"


@pytest.mark.parametrize(
    ("image", "colours"),
    [
        (GREY, "binary"),
        (GREY[..., np.newaxis], "binary"),
        (np.zeros((40, 30), np.uint8), "gray"),
        (np.zeros((28, 28, 3), np.uint8), None),
    ],
    ids=["as in the tutorial", "one channel", "grey photograph", "colour"],
)
def test_grey_photographs_are_not_inverted(image, colours):
    figure = plots.draw_predictions([image], RESULT[:1])
    (drawn,) = figure.axes[0].get_images()
    if colours is not None:
        assert drawn.get_cmap().name == colours
        assert drawn.get_clim() == (0, 255)
    assert drawn.get_array().shape[:2] == image.shape[:2]


def test_an_image_file_is_read_upright(tmp_path):
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:5] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(picture).save(tmp_path / "photo.png", exif=exif)
    assert (plots.read_image(tmp_path / "photo.png") == picture[::-1, ::-1]).all()


def test_class_names_are_drawn_as_they_are():
    """No formula between dollars, no control character."""
    names = ("$\\frac$", "a\x1b[2Jb", "hat")
    figure = plots.draw_predictions([GREY], Classification(RESULT.probabilities[:1], names))
    assert [label for label, _, _ in bars(figure.axes[1])] == ["$\\frac$", "a\N{REPLACEMENT CHARACTER}[2Jb", "hat"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="cannot write the picture"):
        plots.draw_predictions([GREY], RESULT[:1], tmp_path / "no" / "x.png")
