"""What cannot be loaded or published is one sentence; layers of one's own are registered by their module."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hangtag import InvalidInput
from hangtag_export import publish

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("model.keras", {}, "as --pixels, one of 0..1, 0..255, -1..1, imagenet, caffe"),
        ("model.keras", {"pixels": "0-1"}, "pixels '0-1' is not one of"),
        ("model.keras", {"pixels": "0..1", "class_names": ["a", "b"]}, "has 3 classes, and there are 2 class names"),
        ("model.keras", {"pixels": "0..1", "scores": "logits"}, "ends in a softmax, so its scores are not logits"),
        ("model.keras", {"pixels": "0..1", "signature": "x"}, "--signature is for a SavedModel folder"),
        ("model.keras", {"pixels": "0..1", "image_size": "8"}, "image_size '8' is neither a number of pixels"),
        ("model.keras", {"class_names": ""}, "the class names are empty"),
        ("model.keras", {"pixels": "0..1", "base_path": "s3://bucket/x"}, "is not a local folder"),
        ("nothing.keras", {}, "there is no "),
        ("weights.h5", {}, "it holds weights but no model"),
        ("broken.keras", {}, "broken.keras: it is damaged, or no Keras file"),
        ("empty.h5", {}, "empty.h5: it is empty"),
        ("hdf5.keras", {}, "hdf5.keras: its content is that of an .h5 file: rename it"),
        ("archive.h5", {}, "archive.h5: its content is that of a .keras file: rename it"),
        ("text.txt", {}, "is neither a .keras or .h5 file nor a SavedModel folder"),
        ("model.zip", {}, "its content is that of a .keras file, so rename it"),
        ("newer.keras", {}, "it was written by Keras 99.0.0, newer than the"),
        ("pipe.keras", {}, "is neither a file nor a folder"),
        ("folder", {}, "is not a SavedModel: it has no saved_model.pb"),
        ("versions", {}, "give the folder that has it, like {files}/versions/10"),
        ("versions/10", {}, "is not a SavedModel: its saved_model.pb has no graph"),
        ("signatures", {"pixels": "0..1", "output": "label"}, "is of string: scores are of float32"),
        ("signatures", {"pixels": "0..1", "output": "best"}, "is of int64: scores are of float32"),
        ("callable", {}, "save it again with signatures=loaded.__call__.get_concrete_function("),
        ("truncated", {}, "truncated/variables, are missing or incomplete"),
        ("own.keras", {}, "it has a layer of your own, Own: name the module that registers it with --import"),
        ("lambda.keras", {}, "it has a Lambda layer"),
    ],
)
def test_what_cannot_be_published_is_one_sentence(files, tmp_path, what, options, message):
    """And no base path is left."""
    options = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x"} | options
    with pytest.raises(InvalidInput) as error:
        publish(files / what, **options)
    assert message.format(files=files) in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def files(keras, tf, small, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    model = small((6, 8))
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    (folder / "model.weights.h5").rename(folder / "weights.h5")
    (folder / "broken.keras").write_bytes((folder / "model.keras").read_bytes()[:2000])
    (folder / "text.txt").write_text("x")
    (folder / "empty.h5").touch()
    (folder / "hdf5.keras").write_bytes((folder / "weights.h5").read_bytes())
    (folder / "archive.h5").write_bytes((folder / "model.keras").read_bytes())
    (folder / "folder").mkdir()
    shutil.copy(folder / "model.keras", folder / "model.zip")
    os.mkfifo(folder / "pipe.keras")
    for number in ("9", "10"):
        (folder / "versions" / number).mkdir(parents=True)
        (folder / "versions" / number / "saved_model.pb").touch()
    with zipfile.ZipFile(folder / "newer.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "99.0.0"}')
        archive.writestr("config.json", '{"class_name": "Fancy"}')
    _save_modules(tf, folder)

    class Own(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    small((6, 8), Own()).save(folder / "own.keras")
    small((6, 8), keras.layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    return folder


def _save_modules(tf: Any, folder: Path) -> None:
    """A SavedModel with outputs that are no scores, one without signatures, and one whose weights are incomplete."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.normal((48, 3), seed=1))

        @tf.function
        def __call__(self, images: Any) -> Any:
            return tf.nn.softmax(tf.reshape(images, (-1, 48)) @ self.weights)

        @tf.function(input_signature=[tf.TensorSpec((None, 6, 8), tf.float32, name="images")])
        def label(self, images: Any) -> dict[str, Any]:
            best = tf.argmax(self(images), -1)
            return {"best": best, "label": tf.gather(tf.constant(["a", "b", "c"]), best)}

    model = Model()
    tf.saved_model.save(model, str(folder / "signatures"), signatures={"serving_default": model.label})
    for flag in (True, False):  # two traces: TensorFlow then chooses none as the signature
        model(tf.zeros((1, 6, 8) if flag else (1, 48)))
    tf.saved_model.save(model, str(folder / "callable"), signatures={})
    shutil.copytree(folder / "signatures", folder / "truncated")
    next((folder / "truncated" / "variables").glob("*.data-*")).write_bytes(b"x")


def test_endings_in_capitals(files, tmp_path):
    """Keras knows them in small letters only."""
    shutil.copy(files / "model.keras", tmp_path / "MODEL.KERAS")
    done = publish(tmp_path / "MODEL.KERAS", ["a", "b", "c"], tmp_path / "x", pixels="0..1")
    assert done.card["source"]["file"].endswith("MODEL.KERAS")


def test_a_layer_of_ones_own_is_registered_by_its_module(keras, small, tmp_path, monkeypatch):
    (tmp_path / "own_layers_of_a_test.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, inputs): return inputs * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_layers_of_a_test

    small((6, 8), own_layers_of_a_test.Twice()).save(tmp_path / "own.keras")
    keras.saving.get_custom_objects().clear()
    monkeypatch.delitem(sys.modules, "own_layers_of_a_test")
    arguments = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x", "pixels": "0..1"}
    with pytest.raises(InvalidInput, match="a layer of your own"):
        publish(tmp_path / "own.keras", **arguments)
    with pytest.raises(InvalidInput, match="cannot import no_such_module"):
        publish(tmp_path / "own.keras", imports=["no_such_module"], **arguments)
    assert publish(tmp_path / "own.keras", imports=["own_layers_of_a_test"], **arguments).version == 1
