"""What cannot be loaded or published is one sentence; layers of one's own are registered by their module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hangtag import InvalidInput
from hangtag_export import publish

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.usefixtures("verified_here"),
]


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("model.keras", {}, "say it with --pixels, one of 0..1, 0..255, -1..1, imagenet, caffe"),
        ("model.keras", {"pixels": "0-1"}, "pixels '0-1' is not one of"),
        ("model.keras", {"pixels": "0..1", "class_names": ["a", "b"]}, "has 3 classes, and there are 2 class names"),
        ("model.keras", {"pixels": "0..1", "scores": "logits"}, "ends in a softmax, so its scores are not logits"),
        ("model.keras", {"pixels": "0..1", "signature": "x"}, "--signature is for a SavedModel folder"),
        ("model.keras", {"pixels": "0..1", "base_path": "s3://bucket/x"}, "is not a local folder"),
        ("nothing.keras", {}, "there is no "),
        ("weights.h5", {}, "it holds weights but no model"),
        ("broken.keras", {}, "broken.keras: it is damaged, or no Keras file"),
        ("empty.h5", {}, "empty.h5: it is empty"),
        ("hdf5.keras", {}, "hdf5.keras: its content is that of an .h5 file: rename it"),
        ("archive.h5", {}, "archive.h5: its content is that of a .keras file: rename it"),
        ("text.txt", {}, "is neither a .keras or .h5 file nor a SavedModel folder"),
        ("folder", {}, "is not a SavedModel: it has no saved_model.pb"),
        ("own.keras", {}, "it has a layer of your own, Own: name the module that registers it with --import"),
        ("lambda.keras", {}, "it has a Lambda layer"),
    ],
)
def test_what_cannot_be_published_is_one_sentence(files, tmp_path, what, options, message):
    """And no base path is left."""
    options = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x"} | options
    with pytest.raises(InvalidInput) as error:
        publish(files / what, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def files(keras, small, tmp_path_factory) -> Path:
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

    class Own(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    small((6, 8), Own()).save(folder / "own.keras")
    small((6, 8), keras.layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    return folder


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
