"""`hangtag_export.publish`, from Python: layouts, 16 bits, what stands in the base path, and gates."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from hangtag import InvalidInput
from hangtag_export import Dataset, publish
from hangtag_export.errors import GateNotMet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_model_of_channels_first(keras, small, tmp_path):
    done = publish(small((3, 6, 8)), ["a", "b", "c"], tmp_path / "x", pixels="caffe")
    assert (done.version, done.folder) == (1, tmp_path / "x" / "1")
    assert done.card["image_shape"] == [6, 8, 3]
    assert done.card["source"] == {"format": "python", "file": None, "sha256": None, "keras": keras.__version__}


def test_a_model_that_takes_one_image_at_a_time(small, tmp_path):
    done = publish(small((6, 8), batch_size=1), ["a", "b", "c"], tmp_path / "x", pixels="0..255")
    assert done.card["image_shape"] == [6, 8]


def test_names_that_a_graph_of_tensorflow_cannot_have(keras, tf, small, tmp_path):
    """Of the model, its layers, its input and its output; the model keeps them."""
    inputs = keras.Input((6, 8), name="图 1")
    nested = keras.Sequential([keras.Input((6, 8)), keras.layers.Rescaling(1 / 255, name="по шкале")], name="вложенная")
    flat = keras.layers.Flatten()(nested(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="得分 (%)")(flat), name="模型")
    done = publish(model, ["a", "b", "c"], tmp_path / "x")
    assert done.card["pixels"] == "0..255"
    assert [layer.name for layer in model.layers] == [
        "图 1",
        "вложенная",
        flat._keras_history.operation.name,
        "得分 (%)",
    ]
    original = tf.saved_model.load(str(done.folder)).signatures["original"]
    assert list(original.structured_outputs) == ["得分 (%)"]


def test_a_subclassed_model_takes_what_it_was_called_on(keras, tmp_path):
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.last = keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")

        def call(self, images: Any) -> dict[str, Any]:
            return {"scores": self.last(self.flat(images))}

    model = Own()
    with pytest.raises(InvalidInput, match="call it once on images, or wrap it"):
        publish(model, ["a", "b", "c"], tmp_path / "x", pixels="0..1")
    model(np.zeros((2, 6, 8), np.float32))
    assert publish(model, ["a", "b", "c"], tmp_path / "x", pixels="0..1").card["image_shape"] == [6, 8]


@pytest.mark.parametrize("dtype", ["mixed_float16", "bfloat16"])
def test_a_model_that_computes_in_16_bits(keras, small, tmp_path, dtype):
    convolve = keras.layers.Conv2D(4, 3, dtype=dtype)
    assert publish(small((6, 8, 1), convolve), ["a", "b", "c"], tmp_path / "x", pixels="0..1").version == 1


def test_a_signature_of_whole_numbers_takes_raw_pixels(tf, tmp_path):
    """A tf.Module with a signature of its own name, and sigmoids."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.normal((48, 3), seed=1))

        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3), tf.uint8, name="picture")])
        def tag(self, picture: Any) -> dict[str, Any]:
            flat = tf.reshape(tf.cast(picture, tf.float32) / 255, (-1, 48))
            return {"scores": tf.sigmoid(flat @ self.weights)}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "module"), signatures={"tag": model.tag})
    done = publish(tmp_path / "module", ["a", "b", "c"], tmp_path / "x")
    assert (done.card["pixels"], done.card["output"]) == ("0..255", "independent_probabilities")


def test_other_classes_or_another_shape_need_replace(small, tmp_path):
    """And nothing is left of what was refused."""
    base_path = tmp_path / "x"
    publish(small((6, 8)), ["a", "b", "c"], base_path, pixels="0..1")
    with pytest.raises(GateNotMet, match=r"version 1 in .* has other classes: publish to another base path, or with"):
        publish(small((6, 8)), ["a", "b", "d"], base_path, pixels="0..1")
    with pytest.raises(GateNotMet, match="takes images of 6x8, not 6x9"):
        publish(small((6, 9)), ["a", "b", "c"], base_path, pixels="0..1")
    assert [path.name for path in base_path.iterdir()] == ["1"]
    assert publish(small((6, 9)), ["a", "b", "d"], base_path, pixels="0..1", replace=True).version == 2
    shutil.rmtree(base_path / "2" / "assets.extra")
    with pytest.raises(GateNotMet, match="was not published by Hangtag"):
        publish(small((6, 9)), ["a", "b", "d"], base_path, pixels="0..1")


def test_a_model_is_measured_on_labelled_images(small, tmp_path):
    """Published with its accuracy, or not at all."""
    labels = np.arange(60) % 3
    images = np.zeros((60, 6, 8), np.uint8) + (labels * 100).astype(np.uint8)[:, None, None]
    data = Dataset("shades", images, labels, images, labels, ("a", "b", "c"), "0" * 64, "memory")
    perfect, constant = small((6, 8)), small((6, 8))
    kernel = np.array([[0.0, 0.02, 0.03]], np.float32).repeat(48, axis=0)
    perfect.layers[-1].set_weights([kernel, np.array([0, -0.2, -0.8], np.float32) * 48 * 0.01])
    constant.layers[-1].set_weights([np.zeros((48, 3), np.float32), np.array([5, 0, 0], np.float32)])
    arguments = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x", "pixels": "0..1", "dataset": data}
    done = publish(perfect, **arguments, min_accuracy=0.9)
    assert done.card["test_accuracy"] == 1
    card = json.loads((done.folder / "assets.extra" / "hangtag.json").read_text())
    assert (card["test_accuracy"], card["dataset"]) == (1, "shades")
    with pytest.raises(GateNotMet, match=r"test accuracy 0\.3333 is below the 1\.0000 of version 1"):
        publish(constant, **arguments, no_worse_than_current=True)
    with pytest.raises(GateNotMet, match="learned nothing"):
        publish(constant, **arguments)
    with pytest.raises(InvalidInput, match="has other classes than the model"):
        publish(perfect, **arguments | {"class_names": ["a", "c", "b"]}, replace=True)
    with pytest.raises(InvalidInput, match="an accuracy needs labelled images"):
        publish(perfect, **arguments | {"dataset": None}, min_accuracy=0.9)
