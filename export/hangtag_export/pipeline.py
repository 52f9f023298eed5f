"""The export from data to published version, step by step."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hangtag
from hangtag.extras import require
from hangtag.fashion_mnist import translate

from . import architectures, savedmodel, training
from .data import Dataset, load_fashion_mnist
from .inventory import CARD
from .publishing import publish, staging
from .training import Say, TrainingOptions
from .verification import verify

_CHECKED_IMAGES = 32  # held against Keras before publishing, through every signature


@dataclass(frozen=True)
class ExportOptions:
    """What to train and where to publish it."""

    base_path: Path
    architecture: str = "dense"
    hidden: tuple[int, ...] | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    data_dir: str | None = None
    keras_file: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What came of it."""

    version: int
    folder: Path
    test_accuracy: float
    test_loss: float


def export(options: ExportOptions, say: Say) -> Exported:
    """Train, evaluate, write, verify and publish one version."""
    with staging(options.base_path) as folder:
        dataset = load_fashion_mnist(options.data_dir, say)
        say(
            f"{dataset.name}: {len(dataset.train_images):,} training and {len(dataset.test_images):,} test images "
            f"from {dataset.origin}"
        )
        training.set_seed(options.training.seed)
        shape = dataset.train_images.shape[1:]
        model = architectures.build(options.architecture, shape, len(dataset.class_names), options.hidden)
        start = time.perf_counter()
        training.fit(model, dataset.train_images, dataset.train_labels, options.training, say)
        seconds = time.perf_counter() - start
        loss, accuracy = training.evaluate(model, dataset.test_images, dataset.test_labels)
        say(f"test accuracy {accuracy:.4f}, test loss {loss:.4f}, trained in {seconds:.1f} s")

        served = architectures.with_probabilities(model)
        savedmodel.write(served, dataset.class_names, folder)
        _write_card(folder, _card(options, dataset, accuracy, loss, seconds))
        sample = dataset.test_images[:_CHECKED_IMAGES]
        expected = served.predict(training.as_floats(sample), verbose=0)
        verify(folder, sample, expected, dataset.class_names)
        if options.keras_file:
            options.keras_file.parent.mkdir(parents=True, exist_ok=True)
            model.save(options.keras_file)
        version = publish(folder, options.base_path)
    return Exported(version, options.base_path / str(version), accuracy, loss)


def _card(options: ExportOptions, dataset: Dataset, accuracy: float, loss: float, seconds: float) -> dict[str, Any]:
    tf = require("tensorflow", extra="export", what="exporting")
    keras = require("keras", extra="export", what="exporting")
    return {
        "class_names": list(dataset.class_names),
        "class_names_zh": list(translate(dataset.class_names, "zh")),
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "architecture": options.architecture,
        "hidden": list(options.hidden or architectures.HIDDEN[options.architecture]),
        **asdict(options.training),
        "test_accuracy": accuracy,
        "test_loss": loss,
        "training_seconds": round(seconds, 2),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hangtag": hangtag.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    path = folder / CARD
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
