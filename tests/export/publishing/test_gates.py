"""What keeps a model from being published by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hangtag_export.errors import ExportError, GateNotMet
from hangtag_export.publishing import gates
from hangtag_export.training.evaluation import compare

NAMES = ("a", "b")


def evaluation(truth: list[int], predicted: list[int], names: tuple[str, ...] = NAMES):
    return compare(np.eye(len(names), dtype=np.float32)[predicted], np.array(truth), names)


def version(base_path: Path, **card: object) -> Path:
    folder = base_path / "1" / "assets.extra"
    folder.mkdir(parents=True)
    (folder / "hangtag.json").write_text(json.dumps(card))
    return base_path


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([0, 1] * 20, [0] * 40),
        ([0, 1] * 50, [0, 0] * 49 + [0, 1]),
        ([0] * 95 + [1] * 5, [0] * 100),
    ],
    ids=["one class only", "nearly so", "of uneven classes the larger"],
)
def test_a_model_that_predicts_one_class_is_refused(truth, predicted):
    with pytest.raises(GateNotMet, match=r"the model predicts 'a' for .* test images, so it has learned nothing"):
        gates.check_learned(evaluation(truth, predicted))


def test_a_model_no_better_than_chance_is_refused():
    with pytest.raises(GateNotMet, match=r"test accuracy 0\.5000 on 40 images is no better than chance, 0\.5000"):
        gates.check_learned(evaluation([0, 1] * 20, [0, 0, 1, 1] * 10))


def test_a_model_that_has_learned_something_is_not_refused():
    gates.check_learned(evaluation([0, 1] * 20, [0, 1] * 20))
    gates.check_learned(evaluation([0] * 95 + [1] * 5, [0] * 96 + [1] * 4))
    gates.check_learned(evaluation([0, 1], [0, 0]))  # too few images to tell


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({}, "was not published by Hangtag"),
        ({"class_names": ["a", "c"], "image_shape": [8, 8]}, "has other classes"),
        ({"class_names": ["a", "b"], "image_shape": [8, 9]}, "takes images of"),
        (
            {"class_names": ["a", "b"], "image_shape": [8, 8], "output": "independent_probabilities"},
            "gives each class a probability of its own|is a multi-label model",
        ),
    ],
)
def test_a_version_of_another_kind_is_replaced_on_request_only(tmp_path, card, message):
    base_path = version(tmp_path, **card)
    with pytest.raises(GateNotMet, match=message):
        gates.check_replacement(base_path, NAMES, (8, 8), replace=False)
    gates.check_replacement(base_path, NAMES, (8, 8), replace=True)
    with pytest.raises(ExportError, match=f"({message}).*, so the new one cannot be compared with it"):
        gates.check_comparable(base_path, NAMES, (8, 8))


def test_a_version_of_the_same_kind_is_simply_followed(tmp_path):
    gates.check_replacement(tmp_path, NAMES, (8, 8), replace=False)
    gates.check_comparable(tmp_path, NAMES, (8, 8))
    base_path = version(tmp_path, class_names=["a", "b"], image_shape=[8, 8])
    gates.check_replacement(base_path, NAMES, (8, 8), replace=False)
    gates.check_comparable(base_path, NAMES, (8, 8))
