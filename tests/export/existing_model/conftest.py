"""What the tests of published models share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.optional import require
from hangtag_export.existing_model import pipeline
from hangtag_export.savedmodel import verification


@pytest.fixture(scope="session")
def keras() -> Any:
    keras = require("keras", extra="export", what="the test")
    keras.utils.set_random_seed(7)
    return keras


@pytest.fixture(scope="session")
def tf() -> Any:
    return require("tensorflow", extra="export", what="the test")


@pytest.fixture(scope="module")
def verified_here() -> Any:
    """Versions are verified in this process, which takes a second; a fresh one takes six."""

    def verify(folder: Path, images: np.ndarray, expected: np.ndarray, names: Any, *, output: str, tolerance: float):
        answers = verification._answers(str(folder), images, len(names))
        verification._compare(answers, expected, np.array(names), output, tolerance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "verify", verify)
        yield


@pytest.fixture(scope="session")
def small(keras) -> Callable[..., Any]:
    """A function that makes an untrained model for images of a shape, with these layers first: softmax of 3 classes."""

    def make(shape: tuple[int | None, ...], *layers: Any, **options: Any) -> Any:
        last = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        return keras.Sequential([keras.Input(shape, **options), *layers, *last])

    return make
