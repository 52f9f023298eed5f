"""The export, step by step: load the data, train, evaluate, write, verify and publish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.errors import InvalidInput
from hangtag.fashion_mnist import translate
from hangtag.optional import require

from . import plots
from .data import DATASET
from .data.dataset import Dataset
from .data.fashion_mnist import load_fashion_mnist
from .data.folder import load_images
from .errors import ExportError
from .evaluation import Evaluation, as_floats
from .keras_files import uninterrupted
from .publishing import gates
from .publishing.atomic import publish, staging
from .publishing.model_config import ModelConfig
from .publishing.versions import prune
from .savedmodel import card, signatures
from .savedmodel.verification import TOLERANCE, Verifier
from .training.architectures import choose_kernels, recipe
from .training.fit import Say
from .training.options import TrainingOptions
from .training.train import Training, train

_CHECKED_IMAGES = 32  # images for which every signature is compared with Keras before publishing


@dataclass(frozen=True)
class ExportOptions:
    """What to train and where to publish it."""

    base_path: Path
    model_name: str = "fashion"
    dataset: str = DATASET  # or a folder
    data_dir: str | None = None
    image_shape: tuple[int, ...] = (28, 28)  # for a folder's images; (H, W, 3) for colour
    skip_bad: bool = False  # leave out a folder's files that cannot be read
    training: TrainingOptions = field(default_factory=TrainingOptions)
    resume: Path | None = None  # a .keras or .h5 file
    continue_interrupted: bool = False
    keras_file: Path | None = None
    plots: Path | None = None
    language: str = "en"
    min_accuracy: float | None = None
    no_worse_than_current: bool = False
    force: bool = False  # publish even if the model has learned nothing
    replace: bool = False  # publish even if the newest version has other classes or takes other images
    keep: int | None = None
    config: Path | None = None  # whose versions `keep` does not remove


@dataclass(frozen=True)
class Exported:
    """The new version, and how good its model is on the test images."""

    version: int
    folder: Path
    evaluation: Evaluation


def export(options: ExportOptions, say: Say) -> Exported:
    """Train, evaluate, write, verify and publish one version."""
    config = None if options.config is None else ModelConfig(options.config, options.model_name)
    choose_kernels(options.training.architecture)  # before a folder's images load TensorFlow
    with staging(options.base_path) as folder:
        dataset = _load(options, say)
        _check_current(dataset, options)
        names = translate(dataset.class_names, options.language)
        if options.plots is not None:
            plots.check_fonts(names, options.language)
            _prepare_folder("--plots", options.plots)
        if options.training.tensorboard is not None:
            _prepare_folder("--tensorboard", options.training.tensorboard)
        training = train(
            dataset,
            resume_from=options.resume,
            base_path=options.base_path,
            continue_interrupted=options.continue_interrupted,
            follow_test=options.plots is not None,
            say=say,
            **{each.name: getattr(options.training, each.name) for each in fields(options.training)},
        )
        evaluation = training.evaluation
        say(evaluation.table())
        measured = f"test accuracy {evaluation.accuracy:.4f}, test loss {evaluation.loss:.4f}"
        say(f"{measured}, trained in {training.seconds:.1f} s")
        if training.temperature != 1:
            say(
                f"temperature {training.temperature:.3f}, expected calibration error {evaluation.calibration_error:.4f}"
            )
        if options.keras_file:
            _save_keras(training.model, dataset.test_images[:_CHECKED_IMAGES], options.keras_file)
        if options.plots is not None:
            for file in plots.draw_all(options.plots, dataset, evaluation, training.history, options.language):
                say(f"drew {file}")
        with _model_kept_on_failure(training, options), Verifier() as verifier:
            _pass_gates(evaluation, dataset, options)
            signatures.write(signatures.Classifier.of_keras(training.served), dataset.class_names, folder)
            document = _card(options, dataset, training)
            card.write_beside(folder, document, dataset.test_images[:1], options.model_name)
            sample = dataset.test_images[:_CHECKED_IMAGES]
            verifier.verify(folder, sample, evaluation.probabilities[: len(sample)], dataset.class_names)
            version = publish(folder, options.base_path)
        _discard_checkpoints(training)
    if options.keep is not None:
        removed = prune(options.base_path, options.keep, config)
        say(f"removed {', '.join(map(str, removed)) or 'no old version'}")
    return Exported(version, options.base_path / str(version), evaluation)


def _load(options: ExportOptions, say: Say) -> Dataset:
    if options.dataset == DATASET:
        dataset = load_fashion_mnist(options.data_dir, say)
    else:
        dataset = load_images(
            options.dataset, options.image_shape, seed=options.training.seed, skip_bad=options.skip_bad, say=say
        )
    say(
        f"{dataset.name}: {len(dataset.train_images):,} training and {len(dataset.test_images):,} test images "
        f"of {len(dataset.class_names)} classes from {dataset.origin}"
    )
    return dataset


def _prepare_folder(flag: str, folder: Path) -> None:
    """Raise an error before the training if files cannot be written to `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(f"{flag} needs a folder, but {folder} cannot be one: {error.strerror}") from error
    except OSError as error:
        raise ExportError(f"cannot write to {folder}: {error.strerror}; nothing was published") from error


def _save_keras(model: Any, images: np.ndarray, path: Path) -> None:
    """Save the Keras model, and check that the saved one predicts the same."""
    keras = require("keras", extra="export", what="exporting")
    floats = as_floats(images)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with uninterrupted():
            model.save(path)
            saved = keras.models.load_model(path)
        again = saved.predict(floats, verbose=0)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ExportError(f"cannot write {path}: {error.strerror or error}; nothing was published") from error
    difference = float(np.abs(again - model.predict(floats, verbose=0)).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path} does not predict the same as the model in memory: largest difference {difference:.3g}"
        )


def _check_current(dataset: Dataset, options: ExportOptions) -> None:
    """Raise ExportError before the training if the new version could not be published after the newest one."""
    what = options.base_path, dataset.class_names, dataset.test_images.shape[1:]
    gates.check_replacement(*what, replace=options.replace)
    if options.no_worse_than_current:
        gates.check_comparable(*what)


def _pass_gates(evaluation: Evaluation, dataset: Dataset, options: ExportOptions) -> None:
    """Raise GateNotMet unless the model is good enough to be published."""
    gates.check(
        evaluation,
        dataset.test_images,
        dataset.test_labels,
        options.base_path,
        min_accuracy=options.min_accuracy,
        no_worse_than_current=options.no_worse_than_current,
    )
    if not options.force:
        gates.check_learned(evaluation)


@contextmanager
def _model_kept_on_failure(training: Training, options: ExportOptions) -> Iterator[None]:
    """If the model cannot be published, save it as a file that the error names."""
    try:
        yield
    except ExportError as error:
        try:
            kept = options.keras_file or gates.keep_aside(training.model, options.base_path)
        except ExportError:  # for example, the disk is full
            raise error from None
        _discard_checkpoints(training)
        reason = str(error).removesuffix("; nothing was published")
        raise type(error)(f"{reason}: nothing was published, the model was saved to {kept}") from error


def _discard_checkpoints(training: Training) -> None:
    """Remove the checkpoints, because the trained model is in a version or a file now."""
    if training.run is not None:
        training.run.remove()


def _card(options: ExportOptions, dataset: Dataset, training: Training) -> dict[str, Any]:
    used = training.options
    chosen = recipe(used.architecture, photos=options.dataset != DATASET)
    return {
        **card.common(dataset.class_names, dataset.image_shape),
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "architecture": used.architecture,
        "hidden": list(used.hidden or ()),
        "weights": used.weights,
        "epochs": len(training.history["loss"]),
        "batch_size": used.batch_size,
        "seed": used.seed,
        "learning_rate": used.learning_rate or chosen.learning_rate,
        "validation_split": used.validation_split,
        "resumed_from": None if options.resume is None else str(options.resume),
        **training.evaluation.to_dict(),
        "temperature": round(training.temperature, 4),
        "training_seconds": round(training.seconds, 2),
    }
