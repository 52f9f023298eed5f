"""What the tests of published models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hangtag.optional import require


@pytest.fixture(scope="session")
def keras() -> Any:
    keras = require("keras", extra="export", what="the test")
    keras.utils.set_random_seed(7)
    return keras


@pytest.fixture(scope="session")
def tf() -> Any:
    return require("tensorflow", extra="export", what="the test")


@pytest.fixture(scope="session")
def small(keras) -> Callable[..., Any]:
    """A function that makes an untrained model for images of a shape, with these layers first: softmax of 3 classes."""

    def make(shape: tuple[int | None, ...], *layers: Any, **options: Any) -> Any:
        last = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        return keras.Sequential([keras.Input(shape, **options), *layers, *last])

    return make
