"""Training does what its options say, and twice the same thing for one seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hangtag.errors import InvalidInput
from hangtag.optional import require
from hangtag_export.calibration import with_probabilities
from hangtag_export.errors import DataError
from hangtag_export.evaluation import as_floats
from hangtag_export.training import architectures, batches, checkpoints, fit
from hangtag_export.training.train import Training, train
from shortened import shortened

# Keras 3.15 with TensorFlow 2.21 and numpy 2.4: a fault of theirs.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def some(dataset):
    """The first 2,000 training images and 500 test images."""
    return shortened(dataset, train=2000, test=500)


@pytest.fixture(scope="module")
def few(some):
    """The first 640 training images."""
    return shortened(some, train=640)


def trained(data, architecture="dense", **options) -> Training:
    return train(data, architecture, **({"epochs": 1, "batch_size": 32, "seed": 7} | options))


def same(first, second) -> bool:
    weights = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in weights)


@pytest.mark.parametrize("name", ["dense", "compiled"])
def test_one_seed_gives_one_set_of_weights_bit_for_bit(few, name, monkeypatch):
    """Of the cnn: test_checkpoints.py, where a continued training ends with the weights of another."""
    if name == "compiled":  # by XLA, as when there is more to train on
        name = "logits"
        monkeypatch.setattr(fit, "COMPILED_STEPS", 0)
    assert same(trained(few, name).model, trained(few, name).model)


def test_another_seed_gives_other_weights(few):
    first, other = (trained(few, seed=seed).model.get_weights() for seed in (7, 8))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_groups_of_batches_are_trained_on_as_batches_are_one_by_one(few):
    """The same weights as Keras's own train_step gives for the same batches, but for rounding."""
    keras = require("keras", extra="export", what="the test")
    data = shortened(few, train=330)
    ours = trained(data, epochs=2).model
    keras.utils.set_random_seed(7)
    plain = architectures.build("dense", (28, 28), 10)
    plain.compile("adam", "sparse_categorical_crossentropy")
    plan = batches.plan(330, (28, 28), 32, grouped=False)
    stream = batches.training(data.train_images, data.train_labels, plan, seed=7, epochs=range(2))
    plain.fit(stream, epochs=1, verbose=0, shuffle=False)
    assert int(ours.optimizer.iterations) == int(plain.optimizer.iterations) == 2 * 11
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_training_ends_with_the_epoch_whose_loss_is_low_enough(some):
    lines = []
    loss = trained(some, epochs=30, stop_at_loss=0.6, say=lines.append).history["loss"]
    assert loss[-1] <= 0.6 < loss[-2]
    assert "training loss" in lines[-1]


def test_training_ends_with_the_epoch_whose_accuracy_is_high_enough(some):
    accuracy = trained(some, "logits", epochs=30, target_accuracy=0.8).history["accuracy"]
    assert accuracy[-1] >= 0.8 > accuracy[-2]


def test_the_epoch_that_does_best_on_held_out_images_is_used(some):
    """Held-out images are not trained on, and the weights are those of the best epoch, not of the last."""
    # The rate is too high: accuracy goes up and down.
    training = trained(some, epochs=4, validation_split=0.25, learning_rate=0.02)
    held_out = np.random.default_rng(7).permutation(2000)[:500]
    probabilities = training.model.predict(as_floats(some.train_images[held_out]), verbose=0)
    accuracy = (probabilities.argmax(axis=1) == some.train_labels[held_out]).mean()
    assert accuracy == pytest.approx(max(training.history["val_accuracy"]))
    assert int(training.model.optimizer.iterations) == 4 * -(-1500 // 32)


def test_training_ends_when_no_epoch_gets_better(some):
    lines = []
    training = trained(some, epochs=50, validation_split=0.25, learning_rate=0.02, patience=2, say=lines.append)
    best = int(np.argmax(training.history["val_accuracy"]))
    assert len(training.history["loss"]) == best + 3 < 50
    assert "no better epoch in 2 epochs: training stops" in lines
    assert lines[-1].startswith(f"epoch {best + 1} is used")


def test_small_classes_count_as_much_as_large_ones(dataset):
    """Nine shirts to a T-shirt: without weights, hardly any T-shirt is recognised."""
    shirts = np.flatnonzero(dataset.train_labels == 6)[:900]
    tops = np.flatnonzero(dataset.train_labels == 0)[:100]
    places = np.concatenate([shirts, tops])
    tests = np.flatnonzero(np.isin(dataset.test_labels, (0, 6)))
    uneven = replace(
        dataset,
        class_names=("Shirt", "T-shirt/top"),
        train_images=dataset.train_images[places],
        train_labels=(dataset.train_labels[places] == 0).astype(np.int64),
        test_images=dataset.test_images[tests],
        test_labels=(dataset.test_labels[tests] == 0).astype(np.int64),
    )
    shirt, top = trained(uneven, epochs=5).evaluation.recall
    assert top > 0.6
    assert shirt > 0.6


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_resuming_continues_where_the_optimizer_was(some, tmp_path, ending):
    first = trained(some, log=tmp_path / "training.csv")
    file = tmp_path / f"model{ending}"
    first.model.save(file)
    again = checkpoints.from_file(file, "dense", (28, 28), 10)
    for mine, saved in zip(first.model.optimizer.variables, again.optimizer.variables, strict=True):
        assert np.array_equal(mine.numpy(), saved.numpy())
    lines = []
    resumed = trained(some, epochs=2, resume_from=file, log=tmp_path / "training.csv", say=lines.append)
    whole = trained(some, epochs=3)
    for a, b in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert resumed.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-4), "curves begin at epoch 1"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["2/3", "3/3"]
    rows = (tmp_path / "training.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]


def test_the_cnn_has_a_learning_rate_of_one_cycle(few):
    """The rate rises and falls; it is looked at after each epoch."""
    few = shortened(few, train=96)
    keras = require("keras", extra="export", what="the test")
    rates: list[float] = []

    class Rates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    trained(few, "cnn", epochs=4, learning_rate=0.01, callbacks=[Rates()])
    assert rates[0] < 0.0101
    assert rates[0] > rates[1] > rates[2] > rates[3] > 0


def test_a_learning_rate_is_used(few):
    assert float(trained(few, learning_rate=0.005).model.optimizer.learning_rate) == pytest.approx(0.005)


def test_logs_are_written_for_tensorboard_and_as_csv(few, tmp_path):
    trained(few, epochs=2, log=tmp_path / "training.csv", tensorboard=tmp_path / "tensorboard")
    assert [line.split(",")[0] for line in (tmp_path / "training.csv").read_text().splitlines()] == ["epoch", "1", "2"]
    (events,) = (tmp_path / "tensorboard").rglob("events.out.tfevents.*")
    assert events.stat().st_size > 0


def test_a_model_of_your_own_is_trained_too(few):
    """Also one that takes images as they are, without Flatten, as the tutorial's experiments do."""
    keras = require("keras", extra="export", what="the test")
    layers = keras.layers
    mine = keras.Sequential([keras.Input((28, 28)), layers.Dense(8), layers.Flatten(), layers.Dense(10)])
    training = trained(few, model=mine)
    assert training.model is mine
    assert np.allclose(training.evaluation.probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_label_outside_the_classes_is_one_sentence(few):
    keras = require("keras", extra="export", what="the test")
    five = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(5)])
    with pytest.raises(DataError, match=r"^label 9 is outside the model's classes 0\.\.4$"):
        trained(few, model=five)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0: give a whole number, 1 or more"),
        ({"batch_size": 1.5}, "batch_size is 1.5: give a whole number"),
        ({"patience": True}, "patience is True: give a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan: give a number more than 0"),
        ({"validation_split": 1}, "validation_split is 1: give a number from 0 to less than 1"),
        ({"target_accuracy": "high"}, "target_accuracy is 'high': give a number from 0 to 1"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"hidden": (0,)}, r"hidden is \(0,\): give whole numbers, 1 or more"),
        ({"epoch": 3}, "there is no option 'epoch'"),
    ],
)
def test_options_from_python_are_checked_as_those_of_the_command_line_are(few, options, message):
    with pytest.raises(InvalidInput, match=message):
        train(few, **options)
    with pytest.raises(InvalidInput, match="a str is not a data set: give load_fashion_mnist"):
        train("photos")


def test_what_cannot_be_resumed_is_one_sentence(few, tmp_path):
    file = tmp_path / "model.keras"
    trained(few).model.save(file)
    with pytest.raises(DataError, match="has 10 classes, but the data set has 3"):
        checkpoints.from_file(file, "dense", (28, 28), 3)
    with pytest.raises(DataError, match=r"takes images of \[28, 28\], but the data set has \[32, 32, 3\]"):
        checkpoints.from_file(file, "dense", (32, 32, 3), 10)
    with pytest.raises(InvalidInput, match="there is no"):
        checkpoints.from_file(tmp_path / "no.keras", "dense", (28, 28), 10)
    with pytest.raises(InvalidInput, match="give --architecture dense"):
        checkpoints.from_file(file, "cnn", (28, 28), 10)
    file.write_bytes(b"rubbish")
    with pytest.raises(InvalidInput, match="Keras cannot load"):
        checkpoints.from_file(file, "dense", (28, 28), 10)


def test_the_dense_layers_are_those_asked_for():
    def units(model):
        return [layer.units for layer in model.layers if hasattr(layer, "units")]

    assert units(architectures.build("dense", (28, 28), 10)) == [128, 10]
    assert units(architectures.build("dense-512", (28, 28), 10)) == [512, 10]
    assert units(architectures.build("logits", (28, 28), 10, (512, 256))) == [512, 256, 10]
    with pytest.raises(InvalidInput, match="choose one of dense, dense-512, logits, cnn, mobilenet-v3-small"):
        architectures.build("resnet", (28, 28), 10)
    with pytest.raises(InvalidInput, match="3x3 pixels or more, not 2x28"):
        architectures.build("cnn", (2, 28), 10)
    with pytest.raises(InvalidInput, match="--hidden"):
        architectures.build("cnn", (28, 28), 10, (128,))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("dense", (28, 28)), ("logits", (9, 17, 3)), ("cnn", (28, 28)), ("cnn", (9, 17, 3)), ("cnn", (130, 97, 3))],
)
def test_what_is_served_are_probabilities(name, shape):
    model = architectures.build(name, shape, 4)
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    for temperature in (1.0, 1.7):
        answers = with_probabilities(model, temperature)(images).numpy()
        assert answers.shape == (3, 4)
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
