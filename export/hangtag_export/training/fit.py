"""Trains a Keras model. The same seed gives the same weights, bit for bit."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hangtag.optional import require

from ..calibration import ends_in_softmax
from ..data.dataset import Images
from ..errors import DataError, ExportError
from ..evaluation import evaluation_size
from . import batches, callbacks, transfer
from .architectures import Recipe
from .callbacks import Best
from .checkpoints import Run, State
from .muon import MOMENTUM, use_muon
from .options import TrainingOptions

Say = Callable[[str], None]

COMPILED_STEPS = 5000
"""With fewer steps, compiling would take longer than it saves."""

_UNEVEN = 1.5  # if the sizes of classes differ by more than this factor, they get weights


@dataclass(frozen=True)
class Phase:
    """Epochs that are trained in the same way, up to number `stop`."""

    stop: int
    learning_rate: float | None  # None: the optimizer's current rate
    one_cycle: bool = False
    prepare: Callable[[Any], None] = lambda model: None


@dataclass(frozen=True)
class Samples:
    """The training images, and the validation images that choose the best epoch; labels are int64 [N]."""

    images: Images
    labels: np.ndarray
    validation_images: Images | None = None
    validation_labels: np.ndarray | None = None


def known(value: int | None) -> int:
    """A value of complete options, which is not None."""
    if value is None:
        raise ValueError("the options are not complete: use TrainingOptions.with_defaults")
    return value


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow."""
    require("keras", extra="export", what="training").utils.set_random_seed(seed)


def phases(options: TrainingOptions, recipe: Recipe, *, resumed: bool) -> list[Phase]:
    """The phases of a training of `options.epochs` epochs; a model `resumed` from a file has one phase."""
    epochs = known(options.epochs)
    rate = options.learning_rate or recipe.learning_rate
    if resumed:
        return [Phase(epochs, rate if recipe.one_cycle else options.learning_rate, recipe.one_cycle)]
    if not recipe.head_epochs:
        return [Phase(epochs, rate, recipe.one_cycle)]
    if options.weights == "none":  # there are no pretrained weights to preserve, so all layers are trained at once
        return [Phase(epochs, rate, one_cycle=True)]
    head = Phase(min(recipe.head_epochs, max(1, epochs // 3)), rate, prepare=transfer.freeze)
    upper = Phase(epochs, min(rate, recipe.fine_tuning_rate), prepare=transfer.unfreeze_upper_layers)
    return [head, upper]


def fit(
    model: Any,
    samples: Samples,
    options: TrainingOptions,
    recipe: Recipe,
    say: Say,
    *,
    state: State | None = None,
    run: Run | None = None,
    more_callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Train `model`; returns its losses and accuracies by epoch. Afterwards it has the weights of the best epoch.

    `options` must be complete (`TrainingOptions.with_defaults`). With `state`, continue a training from a checkpoint,
    or from a model that was already trained for `first_epoch` epochs. `run` saves a checkpoint after each epoch.
    """
    total, batch_size = known(options.epochs), known(options.batch_size)
    _check_labels(samples.labels, model.output_shape[-1])
    weights = _class_weights(samples.labels, model.output_shape[-1])
    grouped = _is_dense(model) and weights is None
    plan = batches.plan(len(samples.labels), samples.images.shape[1:], batch_size, grouped=grouped)
    compiled = grouped and plan.steps * total >= COMPILED_STEPS
    continues = state is not None
    state = state or State(model, 0, {}, Best())
    history, best, before, done = state.history, state.best, state.first_epoch, state.epoch
    shared: dict[str, Any] = {"verbose": 0, "shuffle": False, "steps_per_epoch": len(plan)}
    if samples.validation_images is not None and samples.validation_labels is not None:
        size = evaluation_size(samples.images.shape[1:])
        shared["validation_data"] = batches.in_order(samples.validation_images, samples.validation_labels, size)

    def after(number: int, trained: Any, epoch: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            history.setdefault(name, []).append(float(value))
        if options.log is not None:
            callbacks.write_csv(options.log, history, epoch - len(history["loss"]))
        if run is not None:
            _save(run, State(trained, epoch, history, best, number, before), say)

    for number, phase in enumerate(phases(options, recipe, resumed=before > 0)):
        if number < state.phase:
            continue
        if continues:  # the layers and the optimizer are already in this phase
            optimizer = model.optimizer
        else:
            phase.prepare(model)
            optimizer = _optimizer(options, recipe, phase)
        if recipe.muon:
            use_muon(optimizer)
        compile_with(model, optimizer, grouped=grouped, compiled=compiled)
        if phase.learning_rate is not None:
            model.optimizer.learning_rate.assign(phase.learning_rate)
        limits = callbacks.stop_when(options.stop_at_loss, options.target_accuracy, say)
        chosen = [callbacks.progress(before + total, say), limits, callbacks.seeded_epochs(options.seed)]
        if phase.one_cycle and phase.learning_rate is not None:
            first_step = int(model.optimizer.iterations) - (done - before) * plan.steps
            chosen.append(callbacks.one_cycle(phase.learning_rate, first_step, plan.steps * phase.stop))
        if "validation_data" in shared:
            chosen.append(callbacks.best_epoch(best, done, options.patience, say))
        chosen.append(callbacks.at_epoch_end(partial(after, number)))
        if options.tensorboard is not None:
            chosen.append(callbacks.tensorboard(options.tensorboard))
        epochs = range(done, before + phase.stop)
        data = batches.training(
            samples.images,
            samples.labels,
            plan,
            seed=options.seed,
            epochs=epochs,
            augment=recipe.augment,
            class_weights=weights,
        )
        if len(epochs):  # a training may have been interrupted after its last epoch
            with _deterministic():
                model.fit(data, initial_epoch=done, epochs=epochs.stop, callbacks=[*more_callbacks, *chosen], **shared)
        done, continues = before + len(history["loss"]), False
        if limits.reached:
            break
    if best.weights is not None:
        model.set_weights(best.weights)
        say(f"epoch {best.epoch} is used, the best on the validation images: accuracy {best.accuracy:.4f}")
    return history


@contextmanager
def _deterministic() -> Iterator[None]:
    """Use only deterministic ops of TensorFlow.

    This must begin after the model is compiled: otherwise Keras does not use XLA, which is quicker, although XLA's code
    for dense layers is deterministic (a test compares the weights bit by bit).
    """
    tf = require("tensorflow", extra="export", what="training")
    config = require("tensorflow.python.framework.config", extra="export", what="training")
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        config.disable_op_determinism()


def _is_dense(model: Any) -> bool:
    keras = require("keras", extra="export", what="training")
    simple = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Dense, keras.layers.Softmax)
    return all(isinstance(layer, simple) for layer in model.layers)


def _optimizer(options: TrainingOptions, recipe: Recipe, phase: Phase) -> Any:
    keras = require("keras", extra="export", what="training")
    rate = phase.learning_rate or 1e-3
    if options.hidden:
        return keras.optimizers.Adam(learning_rate=rate)
    return keras.optimizers.AdamW(
        learning_rate=rate,
        weight_decay=0.05 if phase.one_cycle else 0.004,
        beta_1=MOMENTUM if recipe.muon else 0.9,
    )


def compile_with(model: Any, optimizer: Any, *, grouped: bool, compiled: bool) -> None:
    """Compile `model` for training with `optimizer`, whose state is not reset.

    `grouped`: one call of the graph trains on a whole group of batches (batches.Plan). For dense layers, a call takes
    longer than a batch, so this and XLA (`compiled`) make training six times as fast. XLA's convolutions are slower
    than oneDNN's, so models with other layers do not use XLA.
    """
    keras = require("keras", extra="export", what="training")
    if grouped:
        model.train_step = types.MethodType(_train_on_group, model)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model)),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=compiled,
    )
    # Make the variables now. If the first step made them, TensorFlow would trace it twice, which may take seconds.
    model.optimizer.build(model.trainable_variables)


def _train_on_group(model: Any, group: tuple[Any, Any]) -> Any:
    """Keras's train_step, for each batch of images [S, B, ...] and labels [S, B]."""
    tf = require("tensorflow", extra="export", what="training")
    images, labels = group

    def step(number: Any) -> list[Any]:
        type(model).train_step(model, (images[number], labels[number]))
        return [number + 1]

    tf.while_loop(lambda number: number < tf.shape(images)[0], step, [tf.constant(0)])
    return model.get_metrics_result()


def _class_weights(labels: np.ndarray, classes: int) -> np.ndarray | None:
    """Weights, float32 [C], that make all classes count equally; None for classes of similar size."""
    counts = np.bincount(labels, minlength=classes)
    if counts.max() <= _UNEVEN * counts.min() or not counts.all():
        return None
    weights: np.ndarray = (len(labels) / (classes * counts)).astype(np.float32)
    return weights


def _save(run: Run, state: State, say: Say) -> None:
    """Save a checkpoint; a failure does not end the training."""
    try:
        run.save(state)
    except ExportError as error:
        say(f"{error}; the training continues")


def _check_labels(labels: np.ndarray, classes: int) -> None:
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(f"label {outside[0]} is outside the model's classes 0..{classes - 1}")
