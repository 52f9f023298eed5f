"""What keeps a model from being published by mistake."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.errors import ExportError, GateNotMet
from hangtag_export.evaluation import compare
from hangtag_export.publishing import gates
from support import run

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


# ---- against what is published


def test_a_published_version_is_measured_on_the_same_test_set(exported, dataset):
    card = json.loads((exported / "1" / "assets.extra" / "hangtag.json").read_text())
    accuracy = gates.published_accuracy(exported / "1", dataset.test_images, dataset.test_labels, dataset.class_names)
    assert accuracy == pytest.approx(card["test_accuracy"], abs=2e-4)


def test_a_worse_model_than_the_current_one_is_not_let_through(exported, dataset, tmp_path):
    images, labels = dataset.test_images[:1000], dataset.test_labels[:1000]
    perfect = np.eye(10, dtype=np.float32)[labels]
    wrong = np.roll(perfect, 1, axis=1)

    def check(probabilities: np.ndarray, base_path: Path, names: tuple[str, ...] = dataset.class_names) -> None:
        found = compare(probabilities, labels, names)
        gates.check(found, images, labels, base_path, min_accuracy=None, no_worse_than_current=True)

    check(perfect, exported)
    check(wrong, tmp_path)  # nothing is published there yet
    with pytest.raises(GateNotMet, match=r"^test accuracy 0\.0000 is below the required 0\.9$"):
        gates.check(
            compare(wrong, labels, dataset.class_names),
            images,
            labels,
            tmp_path,
            min_accuracy=0.9,
            no_worse_than_current=False,
        )
    with pytest.raises(GateNotMet, match=r"^test accuracy 0\.0000 is below the 0\.\d{4} of version 1$"):
        check(wrong, exported)
    with pytest.raises(ExportError, match="has other classes"):
        check(perfect, exported, tuple("abcdefghij"))
    (tmp_path / "1").mkdir()
    with pytest.raises(ExportError, match="version 1 cannot be compared with"):
        check(perfect, tmp_path)


def test_a_gate_that_is_not_met_publishes_nothing_and_keeps_the_model(exported, tmp_path):
    """Training that hardly moves is worse than what is published; it ends with the first epoch, as was asked for."""
    base_path = tmp_path / "fashion"
    shutil.copytree(exported, base_path)
    slow = ["--epochs=3", "--batch-size=256", "--learning-rate=1e-7", "--stop-at-loss=100"]
    done = run("export", *slow, "--no-worse-than-current", f"--base-path={base_path}")
    assert done.returncode == 1
    assert "is at most 100: training stops\n" in done.stdout
    (line,) = done.stderr.splitlines()
    assert re.search(r"test accuracy 0\.\d{4} is below the 0\.8\d{3} of version 1: nothing was published", line)
    (kept,) = (base_path / "rejected").iterdir()
    assert line.endswith(f"the model was saved to {kept}")
    keras = require("keras", extra="export", what="the test")
    assert keras.models.load_model(kept).output_shape == (None, 10)
    assert sorted(path.name for path in base_path.iterdir()) == ["1", "rejected"]
