"""Training does what its options say, and twice the same thing for one seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hangtag.cli.main import main
from hangtag.errors import InvalidInput
from hangtag_export.errors import DataError
from hangtag_export.training import architectures, fit
from hangtag_export.training.architectures import RECIPES
from hangtag_export.training.fit import TrainingOptions

# Keras 3.15 with TensorFlow 2.21 and numpy 2.4: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OPTIONS = TrainingOptions(epochs=1, batch_size=32, seed=7)


def silent(words: str) -> None:
    pass


@pytest.fixture(scope="module")
def some(dataset):
    """The first 2,000 training images and labels."""
    return dataset.train_images[:2000], dataset.train_labels[:2000]


def trained(name, some, options=OPTIONS, say=silent):
    fit.set_seed(options.seed)
    model = architectures.build(name, some[0].shape[1:], 10)
    return model, fit.fit(model, *some, options, RECIPES[name], say)


@pytest.mark.parametrize("name", ["dense", "logits", "cnn"])
def test_one_seed_gives_one_set_of_weights_bit_for_bit(some, name):
    few = some[0][:640], some[1][:640]
    first, second = (trained(name, few)[0].get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_gives_other_weights(some):
    few = some[0][:640], some[1][:640]
    first, other = (trained("dense", few, replace(OPTIONS, seed=seed))[0].get_weights() for seed in (7, 8))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_training_ends_with_the_epoch_whose_loss_is_low_enough(some):
    said = []
    _, history = trained("dense", some, replace(OPTIONS, epochs=30, stop_at_loss=0.6), said.append)
    assert history["loss"][-1] <= 0.6 < history["loss"][-2]
    assert "training loss" in said[-1]


def test_training_ends_with_the_epoch_whose_accuracy_is_high_enough(some):
    _, history = trained("logits", some, replace(OPTIONS, epochs=30, target_accuracy=0.8))
    assert history["accuracy"][-1] >= 0.8 > history["accuracy"][-2]


def test_the_epoch_that_does_best_on_held_out_images_is_kept(some):
    """Held-out images are not trained on, and the weights are those of the best epoch, not of the last."""
    options = replace(OPTIONS, epochs=4, validation_split=0.25, learning_rate=0.02)  # too fast: it goes up and down
    model, history = trained("dense", some, options)
    held_out = np.random.default_rng(options.seed).permutation(2000)[:500]
    probabilities = model.predict(fit.as_floats(some[0][held_out]), verbose=0)
    accuracy = (probabilities.argmax(axis=1) == some[1][held_out]).mean()
    assert accuracy == pytest.approx(max(history["val_accuracy"]))
    assert int(model.optimizer.iterations) == 4 * -(-1500 // 32)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_resuming_goes_on_where_the_optimizer_was(some, tmp_path, ending):
    model, _ = trained("dense", some)
    file = tmp_path / f"model{ending}"
    model.save(file)
    again = fit.resume(file, "dense", (28, 28), 10)
    for mine, saved in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        assert np.array_equal(mine.numpy(), saved.numpy())
    assert int(again.optimizer.iterations) == 63
    histories = []
    for each in (model, again):
        fit.set_seed(1)
        histories.append(fit.fit(each, *some, replace(OPTIONS, epochs=2), RECIPES["dense"], silent))
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-5)
    assert int(again.optimizer.iterations) == 3 * 63


def test_a_learning_rate_of_one_cycle_climbs_and_falls(some):
    """The cnn's recipe; a dense model shows it sooner. Looked at after each epoch."""
    rates: list[float] = []
    model = architectures.build("dense", (28, 28), 10)
    recipe = replace(RECIPES["dense"], one_cycle=True)
    options = replace(OPTIONS, epochs=4, learning_rate=0.01)
    fit.fit(model, *some, options, recipe, lambda _: rates.append(float(model.optimizer.learning_rate)))
    assert rates[0] < rates[1] > rates[2] > rates[3] > 0
    assert rates[1] <= 0.01


def test_a_learning_rate_is_used(some):
    model, _ = trained("dense", some, replace(OPTIONS, learning_rate=0.005))
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)


def test_logs_are_written_for_tensorboard_and_as_csv(some, tmp_path):
    options = replace(OPTIONS, epochs=2, log=tmp_path / "training.csv", tensorboard=tmp_path / "tensorboard")
    trained("dense", (some[0][:320], some[1][:320]), options)
    assert [line.split(",")[0] for line in (tmp_path / "training.csv").read_text().splitlines()] == ["epoch", "1", "2"]
    (events,) = (tmp_path / "tensorboard").rglob("events.out.tfevents.*")
    assert events.stat().st_size > 0


def test_a_label_outside_the_classes_is_one_sentence(some):
    model = architectures.build("dense", (28, 28), 5)
    with pytest.raises(DataError, match=r"^label 9 is outside the model's classes 0\.\.4$"):
        fit.fit(model, *some, OPTIONS, RECIPES["dense"], silent)


def test_what_cannot_be_resumed_is_one_sentence(some, tmp_path):
    model, _ = trained("dense", (some[0][:64], some[1][:64]))
    file = tmp_path / "model.keras"
    model.save(file)
    with pytest.raises(DataError, match="knows 10 classes, the data set has 3"):
        fit.resume(file, "dense", (28, 28), 3)
    with pytest.raises(DataError, match=r"is for images of \[28, 28\], the data set's are \[32, 32, 3\]"):
        fit.resume(file, "dense", (32, 32, 3), 10)
    with pytest.raises(InvalidInput, match="there is no"):
        fit.resume(tmp_path / "no.keras", "dense", (28, 28), 10)
    with pytest.raises(InvalidInput, match="give --architecture dense"):
        fit.resume(file, "cnn", (28, 28), 10)
    file.write_bytes(b"rubbish")
    with pytest.raises(InvalidInput, match="is not a Keras model"):
        fit.resume(file, "dense", (28, 28), 10)


def test_the_dense_layers_are_those_asked_for():
    def units(model):
        return [layer.units for layer in model.layers if hasattr(layer, "units")]

    assert units(architectures.build("dense", (28, 28), 10)) == [128, 10]
    assert units(architectures.build("dense-512", (28, 28), 10)) == [512, 10]
    assert units(architectures.build("logits", (28, 28), 10, (512, 256))) == [512, 256, 10]
    with pytest.raises(InvalidInput, match="choose one of dense, dense-512, logits, cnn"):
        architectures.build("resnet", (28, 28), 10)
    with pytest.raises(InvalidInput, match="3x3 pixels or more, not 2x28"):
        architectures.build("cnn", (2, 28), 10)
    with pytest.raises(InvalidInput, match="--hidden"):
        architectures.build("cnn", (28, 28), 10, (128,))


@pytest.mark.parametrize("name", architectures.NAMES)
@pytest.mark.parametrize("shape", [(28, 28), (9, 17, 3)], ids=["grey", "colour"])
def test_what_is_served_are_probabilities(name, shape):
    served = architectures.with_probabilities(architectures.build(name, shape, 4))
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    answers = served(images).numpy()
    assert answers.shape == (3, 4)
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--epochs=0", "'0' is not a whole number, 1 or more"),
        ("--epochs=ten", "'ten' is not a whole number, 1 or more"),
        ("--learning-rate=0", "'0' is not a number more than 0"),
        ("--validation-split=1", "'1' is not a number from 0 to less than 1"),
        ("--seed=-1", "'-1' is not a whole number from 0"),
        ("--min-accuracy=88", "'88' is not a number from 0 to 1"),
        ("--target-accuracy=90", "'90' is not a number from 0 to 1"),
        ("--stop-at-loss=nan", "'nan' is not a number more than 0"),
        ("--image-size=0x3", "'0' is not a whole number, 1 or more"),
        ("--keras=model.pb", "model.pb must end in .keras or .h5"),
        ("--model-name=", "'' is not a name"),
        ("--model-name=a/b", "'a/b' is not a name"),
    ],
)
def test_options_that_make_no_sense_are_bad_usage(word, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", word])
    assert ended.value.code == 2
    assert f"argument {word.split('=')[0]}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--image-size=32"],
            "--image-size is for a folder of images (--dataset DIR): Fashion-MNIST is 28x28 and grey",
        ),
        (["--color"], "--color is for a folder of images"),
        (["--dataset=pictures", "--data-dir=data"], "--data-dir is for Fashion-MNIST"),
        (["--config=models.config"], "--config is for --keep N"),
    ],
)
def test_options_that_would_have_no_effect_or_an_unmeant_one_are_refused_at_once(words, said, tmp_path, capsys):
    assert main(["export", f"--base-path={tmp_path / 'fashion'}", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert said in line
    assert not (tmp_path / "fashion").exists()
