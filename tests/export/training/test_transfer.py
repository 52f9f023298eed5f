"""Pretrained architectures: weights from a file, two phases, and one sentence where weights cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from hangtag.errors import InvalidInput
from hangtag.optional import require
from hangtag_export.data.dataset import Dataset
from hangtag_export.errors import DataError
from hangtag_export.training import architectures, transfer
from hangtag_export.training import train as training
from hangtag_export.training.train import train
from shortened import shortened

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore:.*input_shape.*")

NAME = "mobilenet-v3-small"
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def bright_or_dark() -> Dataset:
    """48 training and 12 test images of two classes."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (random.normal(70, 20, (60, *SHAPE)) + 110 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8)
    return Dataset("tones", images[:48], labels[:48], images[48:], labels[48:], ("dark", "bright"), "0", "drawn")


@pytest.fixture(scope="module")
def untrained():
    return architectures.build(NAME, SHAPE, 2, weights="none")


def backbone(model):
    return model.get_layer("backbone")


@pytest.mark.parametrize("ending", ["model.keras", "backbone.weights.h5", "model.weights.h5", "model.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_come_from_a_file(untrained, tmp_path, ending):
    file = tmp_path / ending
    if ending == "backbone.weights.h5":
        backbone(untrained).save_weights(file)
    elif ending.endswith(".weights.h5"):
        untrained.save_weights(file)
    else:
        untrained.save(file)
    loaded = architectures.build(NAME, SHAPE, 2, weights=str(file))
    for a, b in zip(backbone(loaded).get_weights(), backbone(untrained).get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_first_the_last_layer_is_trained_and_then_the_upper_ones(bright_or_dark, untrained, tmp_path):
    file = tmp_path / "backbone.weights.h5"
    backbone(untrained).save_weights(file)
    before = backbone(untrained).get_weights()
    keras = require("keras", extra="export", what="the test")
    changed: list[list[bool]] = []  # by epoch and weight

    class Changes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            now = backbone(self.model).get_weights()
            changed.append([not np.array_equal(a, b) for a, b in zip(now, before, strict=True)])

    # Both phases: epochs // 3 of the head, then the upper layers. No patience, or a phase may end early.
    both = train(bright_or_dark, NAME, weights=str(file), epochs=3, batch_size=24, patience=9, callbacks=[Changes()])
    assert len(both.history["loss"]) == 3
    assert float(both.model.optimizer.learning_rate) == pytest.approx(1e-4)
    assert [any(epoch) for epoch in changed] == [False, True, True]
    assert not any(epoch[0] for epoch in changed), "the lower layers stay as they are"


def test_what_cannot_be_built_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="needs colour images of 32x32 pixels or more, not 28x28 grey"):
        architectures.build(NAME, (28, 28), 2, weights="none")
    with pytest.raises(InvalidInput, match=r"there is no file nowhere\.h5"):
        architectures.build(NAME, SHAPE, 2, weights="nowhere.h5")
    for name in ("rubbish.keras", "rubbish.h5", "rubbish.weights.h5"):
        (tmp_path / name).write_bytes(b"rubbish")
        with pytest.raises(DataError):
            architectures.build(NAME, SHAPE, 2, weights=str(tmp_path / name))
    with pytest.raises(InvalidInput, match="--weights FILE is for mobilenet-v3-small"):
        architectures.build("cnn", SHAPE, 2, weights="a.h5")


def test_without_a_network_the_file_and_its_place_are_named(monkeypatch, tmp_path):
    """The real download code, with an address where nothing answers."""
    keras = require("keras", extra="export", what="the test")
    get_file = require("keras.src.applications.mobilenet_v3", extra="export", what="the test").file_utils.get_file

    def unreachable(name, origin, **options):
        origin = origin.replace("https://storage.googleapis.com", "http://127.0.0.1:1")
        return get_file(name, origin, cache_dir=str(tmp_path), **options)

    module = require("keras.src.applications.mobilenet_v3", extra="export", what="the test")
    monkeypatch.setattr(module.file_utils, "get_file", unreachable)
    with pytest.raises(DataError) as raised:
        architectures.build(NAME, SHAPE, 2, weights="imagenet")
    message = str(raised.value)
    assert "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5" in message
    assert ".keras/models" in message
    assert "\n" not in message
    assert keras.config.dtype_policy().name == "float32"


def test_mixed_precision_trains_in_float16_and_serves_in_float32(bright_or_dark, monkeypatch):
    monkeypatch.setattr(training, "_has_fast_float16", lambda: True)
    small = shortened(bright_or_dark, train=32)
    seen = []
    keras = require("keras", extra="export", what="the test")
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    done = train(small, "cnn", epochs=1, batch_size=16, callbacks=[look])
    assert seen == [0]
    assert {layer.compute_dtype for layer in done.model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_every_pretrained_architecture_is_one_of_keras():
    keras = require("keras", extra="export", what="the test")
    assert all(callable(getattr(keras.applications, function)) for function in transfer.BACKBONES.values())
