"""What the tests of the export share; they need no import of TensorFlow in each process that verifies a version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hangtag_export import Dataset
from hangtag_export.savedmodel import verification
from prestarted import PrestartedVerification
from shortened import shortened

_start_process = verification.start_process


@pytest.fixture(scope="session", autouse=True)
def _prestarted_verification() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "start_process", PrestartedVerification)
        yield


@pytest.fixture
def own_verification_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are verified by the process that users have."""
    monkeypatch.setattr(verification, "start_process", _start_process)


@pytest.fixture
def very_few(dataset: Dataset) -> Dataset:
    """The first 64 training images and 100 test images: the cnn trains on them in seconds."""
    return shortened(dataset, train=64, test=100)
