"""Fewer images of a dataset, for trainings that take seconds."""

from __future__ import annotations

from dataclasses import replace

from hangtag_export import Dataset


def shortened(dataset: Dataset, train: int | None = None, test: int | None = None) -> Dataset:
    """The dataset with its first `train` training images and `test` test images; None keeps all."""
    return replace(
        dataset,
        train_images=dataset.train_images[:train],
        train_labels=dataset.train_labels[:train],
        test_images=dataset.test_images[:test],
        test_labels=dataset.test_labels[:test],
    )
