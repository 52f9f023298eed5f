"""`hangtag_export.train`: trains, calibrates and evaluates a model on a data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.core.scores import softmax
from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..calibration import ends_in_softmax, find_temperature, with_mirror_images, with_probabilities
from ..data import DATASET
from ..data.dataset import Dataset
from ..data.image_files import select
from ..evaluation import Evaluation, compare, evaluate, predict
from . import architectures, batches, checkpoints
from .callbacks import Best, read_csv
from .checkpoints import Run, State
from .fit import Samples, Say, fit, known, set_seed
from .options import TrainingOptions

_ENOUGH = 30  # validation images; with fewer, the best temperature would be chance


@dataclass(frozen=True)
class Training:
    """The result of a training.

    `model` is the Keras model with the weights of the best epoch: float32 images 0..1 [N, *image_shape] in,
    probabilities or logits [N, C] out. `served` always returns probabilities: it adds a softmax and the temperature,
    and for the `cnn` the mean of an image and its mirror image. `history` has the figures of each epoch by name
    ("loss", "accuracy", "val_loss", "val_accuracy"). `evaluation` is the result of `served` on the test images.
    """

    model: Any
    history: dict[str, list[float]]
    evaluation: Evaluation
    served: Any
    temperature: float  # by which the logits are divided; 1 without calibration
    options: TrainingOptions  # with the values that were used
    seconds: float
    run: Run | None  # the checkpoints, if there are any


def train(
    dataset: Dataset,
    architecture: str = "dense",
    *,
    model: Any = None,
    resume_from: Path | None = None,
    base_path: Path | None = None,
    continue_interrupted: bool = False,
    callbacks: Sequence[Any] = (),
    follow_test: bool = False,
    say: Say = lambda line: None,
    **options: Any,
) -> Training:
    """Train on `dataset`, calibrate on its validation images, evaluate on its test images.

    `architecture`: "dense", "dense-512", "logits", "cnn", "mobilenet-v3-small", "efficientnet-v2-b0" or
    "convnext-tiny"; or `model`, an untrained Keras model of your own (float32 images 0..1 in; softmax or logits out).
    `options`: the fields of `TrainingOptions`, such as ``epochs=5`` or ``validation_split=0.1``.
    `resume_from`: a .keras or .h5 file whose training continues. `base_path`: where a checkpoint is written after each
    epoch, until ``run.remove()``; with `continue_interrupted`, the training that was interrupted there continues.
    `callbacks`: Keras callbacks. `follow_test`: if there are no validation images, also record loss and accuracy on the
    test images; they have no influence. `say`: called with a line for each epoch. Raises InvalidInput, DataError,
    ExportError.

    >>> training = train(load_fashion_mnist(), epochs=5)  # doctest: +SKIP
    >>> training.evaluation.accuracy, training.history["loss"][-1]  # doctest: +SKIP
    (0.8731, 0.2954)
    """
    if not isinstance(dataset, Dataset):
        kind = type(dataset).__name__
        raise InvalidInput(f"a {kind} is not a data set: give load_fashion_mnist(), load_images(FOLDER) or a Dataset")
    recipe = architectures.recipe(architecture, photos=dataset.name != DATASET)
    unknown = sorted(options.keys() - {field.name for field in fields(TrainingOptions)})
    if unknown:
        raise InvalidInput(f"there is no option {unknown[0]!r}: the options are the fields of TrainingOptions")
    chosen = TrainingOptions(architecture=architecture, **options).with_defaults(recipe)
    samples = _samples(dataset, chosen)
    shape, classes = dataset.image_shape, len(dataset.class_names)
    start = time.perf_counter()
    set_seed(chosen.seed)
    run, state, mixed = None, None, False
    if base_path is not None:
        settings = _settings(dataset, chosen)
        find = checkpoints.unfinished if continue_interrupted else checkpoints.begin
        run = find(base_path, settings)
    try:
        if run is not None and continue_interrupted:
            state = run.load()
            say(f"continuing after epoch {state.epoch}")
        elif resume_from is not None:
            state = _resumed(resume_from, architecture, shape, classes, samples, chosen)
            say(f"resuming {resume_from} after {int(state.model.optimizer.iterations):,} steps")
        elif model is None:
            mixed = _has_fast_float16()
            model = _build(chosen, shape, classes, "mixed_float16" if mixed else "float32")
        if state is not None:
            model = state.model
            mixed = _is_mixed(model)
        more = [*callbacks]
        if follow_test and samples.validation_images is None:
            more.append(_follow(dataset))
        history = fit(model, samples, chosen, recipe, say, state=state, run=run, more_callbacks=more)
        seconds = time.perf_counter() - start
        if mixed:  # a server may have no GPU, and there float16 is slow
            trained, model = model, _build(replace(chosen, weights="none"), shape, classes, "float32")
            model.set_weights(trained.get_weights())
        temperature, final = 1.0, model
        if recipe.mirrored and not ends_in_softmax(model):
            final = with_mirror_images(model)
        images, labels = samples.validation_images, samples.validation_labels
        if chosen.calibrate and images is not None and labels is not None and len(labels) >= _ENOUGH:
            temperature = find_temperature(predict(with_probabilities(final), images), labels)
        served = with_probabilities(final, temperature)
        evaluation = evaluate(served, dataset.test_images, dataset.test_labels, dataset.class_names)
    except KeyboardInterrupt:
        if run is not None and run.has_epochs():
            say("interrupted: run the same command with --resume to continue after the last epoch")
        raise
    finally:
        if run is not None:
            run.close()
    return Training(model, history, evaluation, served, temperature, chosen, seconds, run)


def _samples(dataset: Dataset, options: TrainingOptions) -> Samples:
    """The training images, and as validation images those of ``val/`` or a part of the training images."""
    images, labels = dataset.train_images, dataset.train_labels
    split = options.validation_split or 0.0
    if dataset.validation_images is not None:
        return Samples(images, labels, dataset.validation_images, dataset.validation_labels)
    held_out = round(len(labels) * split)
    if not held_out:
        return Samples(images, labels)
    order = np.random.default_rng(options.seed).permutation(len(labels))
    validation, train = order[:held_out], order[held_out:]
    if not len(train):
        raise InvalidInput(f"a validation split of {split:g} leaves nothing to train on")
    return Samples(select(images, train), labels[train], select(images, validation), labels[validation])


def _settings(dataset: Dataset, options: TrainingOptions) -> dict[str, Any]:
    """The settings that must be equal when an interrupted training is continued."""
    names = ("architecture", "hidden", "weights", "epochs", "batch_size", "seed", "learning_rate", "validation_split")
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "image_shape": dataset.image_shape,
        **{name: getattr(options, name) for name in names},
    }


def _resumed(
    path: Path, architecture: str, shape: tuple[int, ...], classes: int, samples: Samples, options: TrainingOptions
) -> State:
    """The state of a model from a file. The steps of its optimizer show how many epochs it was trained."""
    model = checkpoints.from_file(path, architecture, shape, classes)
    each = batches.plan(len(samples.labels), shape, known(options.batch_size), grouped=False).steps
    epoch = max(1, round(int(model.optimizer.iterations) / each))
    history = {} if options.log is None else read_csv(options.log, epoch)
    return State(model, epoch, history, Best(), first_epoch=epoch)


def _follow(dataset: Dataset) -> Any:
    """A callback that adds the results on the test images to the figures of each epoch."""
    keras = require("keras", extra="export", what="training")

    class Follow(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            probabilities = predict(self.model, dataset.test_images)
            if not ends_in_softmax(self.model):
                probabilities = softmax(probabilities)
            found = compare(probabilities, dataset.test_labels, dataset.class_names)
            if logs is not None:
                logs.update(test_loss=found.loss, test_accuracy=found.accuracy)

    return Follow()


# ---- mixed precision


def _has_fast_float16() -> bool:
    """Whether there is a GPU for which float16 is faster than float32: compute capability 7 or more."""
    tf = require("tensorflow", extra="export", what="training")
    devices = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    return bool(details) and all(each.get("compute_capability", (0, 0))[0] >= 7 for each in details)


def _is_mixed(model: Any) -> bool:
    return any(layer.dtype_policy.compute_dtype == "float16" for layer in model.layers)


def _build(options: TrainingOptions, shape: tuple[int, ...], classes: int, policy: str) -> Any:
    keras = require("keras", extra="export", what="training")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return architectures.build(options.architecture, shape, classes, options.hidden, options.weights or "none")
    finally:
        keras.config.set_dtype_policy(before)
