"""Models of several kinds, published by one command each, served, and classified over both protocols as Keras does."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hangtag import Client, InvalidInput
from hangtag.cli.main import main
from hangtag.optional import require
from hangtag_export import Dataset, publish
from hangtag_export.errors import GateNotMet
from hangtag_export.existing_model import pipeline
from hangtag_export.publishing import verification
from support import Server, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.timeout(900),  # six models are published before the first answer
]

CHINESE = [f"第{number}类" for number in range(1000)]


@dataclass(frozen=True)
class Published:
    """A version, and the probabilities that the model itself gives for raw images, uint8 [N, *shape]."""

    base_path: Path
    names: list[str]
    shape: tuple[int, ...]
    predict: Callable[[np.ndarray], np.ndarray]
    output: str = "probabilities"


@pytest.fixture(scope="module")
def keras() -> Any:
    keras = require("keras", extra="export", what="the test")
    keras.utils.set_random_seed(7)
    return keras


@pytest.fixture(scope="module")
def tf() -> Any:
    return require("tensorflow", extra="export", what="the test")


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


def mobilenet(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """Random weights, 1,000 Chinese class names from a text file, pixels -1..1."""
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None)
    model.save(folder / "mobilenet.keras")
    (folder / "names.txt").write_text("\n".join(CHINESE) + "\n", encoding="utf-8")
    arguments = [str(folder / "mobilenet.keras"), f"--class-names={folder / 'names.txt'}", "--pixels", "-1..1"]
    predict = lambda images: model.predict_on_batch(floats(images) / 127.5 - 1)  # noqa: E731
    return arguments, Published(folder, CHINESE, (96, 96, 3), predict)


def tf1_graph(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """A SavedModel of TensorFlow 1, with variables of its old kind."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        with v1.variable_scope("model", use_resource=False):
            images = v1.placeholder(tf.float32, [None, 12, 10, 3], name="input")
            weights = v1.get_variable("weights", [360, 3], initializer=v1.random_normal_initializer(seed=1))
            scores = tf.nn.softmax(tf.matmul(tf.reshape(images, [-1, 360]), weights) / 9)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder / "graph"), {"input": images}, {"scores": scores})
        values = session.run(weights)
    arguments = [str(folder / "graph"), "--class-names=red,green,blue", "--pixels=0..1"]
    predict = lambda images: softmax(floats(images).reshape(len(images), -1) / 255 @ values / 9)  # noqa: E731
    return arguments, Published(folder, ["red", "green", "blue"], (12, 10, 3), predict)


def keras_2_file(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """An .h5 file of Keras 2, with a layer that Keras 3 cannot read from it."""
    tf_keras = require("tf_keras", extra="export", what="the test")
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.InputLayer((12, 12, 1)),
            layers.Rescaling(1 / 255),
            layers.DepthwiseConv2D(3, depth_multiplier=4),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "old.h5")
    (folder / "names.json").write_text('{"low": 0, "high": 2, "middle": 1}')
    arguments = [str(folder / "old.h5"), f"--class-names={folder / 'names.json'}"]
    predict = lambda images: model.predict_on_batch(floats(images)[..., None])  # noqa: E731
    return arguments, Published(folder, ["low", "middle", "high"], (12, 12), predict)


def logits(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """A Keras export (SavedModel) whose last layer is linear, for grey images with pixels 0..1; names from folders."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((9, 9)), layers.Flatten(), layers.Dense(4)])
    model.export(folder / "exported", verbose=False)
    for name in "dcba":
        (folder / "photos" / "train" / name).mkdir(parents=True)
    arguments = [str(folder / "exported"), f"--class-names={folder / 'photos'}", "--pixels=0..1", "--scores=logits"]
    predict = lambda images: softmax(model.predict_on_batch(floats(images) / 255))  # noqa: E731
    return arguments, Published(folder, ["a", "b", "c", "d"], (9, 9), predict)


def binary(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """One sigmoid, behind a Rescaling that determines the range: two columns come out."""
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
    )
    model.save(folder / "binary.h5")

    def predict(images: np.ndarray) -> np.ndarray:
        positive = model.predict_on_batch(floats(images))
        return np.concatenate([1 - positive, positive], axis=1)

    arguments = [str(folder / "binary.h5"), "--class-names=cat,dog"]
    return arguments, Published(folder, ["cat", "dog"], (8, 8, 3), predict)


def multi_label(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """Several sigmoids, one of two outputs, of a model that takes images of any size."""
    layers = keras.layers
    images = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(images))
    tags = layers.Dense(4, activation="sigmoid", name="tags")(pooled)
    model = keras.Model(images, {"tags": tags, "box": layers.Dense(4, name="box")(pooled)})
    model.save(folder / "tags.keras")
    arguments = [
        str(folder / "tags.keras"),
        "--class-names=day,indoors,people,food",
        "--output=tags",
        "--pixels=imagenet",
        "--image-size=16x12",
    ]

    def predict(images: np.ndarray) -> np.ndarray:
        scaled = (floats(images) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return model.predict_on_batch(scaled.astype(np.float32))["tags"]

    return arguments, Published(
        folder, ["day", "indoors", "people", "food"], (16, 12, 3), predict, output="independent_probabilities"
    )


KINDS = (mobilenet, tf1_graph, keras_2_file, logits, binary, multi_label)


@pytest.fixture(scope="module")
def published(tmp_path_factory, keras, tf) -> dict[str, Published]:
    """All of them, each by one command."""
    found = {}
    for kind in KINDS:
        name = kind.__name__
        arguments, model = kind(tmp_path_factory.mktemp(name), keras, tf)
        base_path = model.base_path / "models" / name
        assert main(["publish", *arguments, f"--base-path={base_path}"]) == 0
        found[name] = Published(base_path, model.names, model.shape, model.predict, model.output)
    return found


@pytest.fixture(scope="module")
def server(published, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{model.base_path}" model_platform: "tensorflow" }}\n'
        for name, model in published.items()
    )
    (folder / "models.config").write_text(f"model_config_list {{\n{entries}}}\n")
    flag = f"--model_config_file={folder / 'models.config'}"
    with serving(folder, folder / "log", flag, model="multi_label") as running:
        yield running


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_published_model_answers_as_it_did(kind, protocol, published, server):
    """From pixels, from 0..1 and from files of the size: the same probabilities within 1e-5, and the class names."""
    model = published[kind.__name__]
    images = np.random.default_rng(3).integers(0, 256, (3, *model.shape), dtype=np.uint8)
    expected = model.predict(images)
    with Client(server.target(protocol), model=kind.__name__, timeout=60) as client:
        files = np.array([png(image) for image in images], object)
        for signature, array in (
            ("serving_default", images),
            ("normalized_images", floats(images) / np.float32(255)),
            ("encoded_images", files),
        ):
            answer = client.predict({"images": array}, signature=signature)[model.output]
            assert np.allclose(answer, expected, rtol=0, atol=1e-5), signature
        assert client.labels() == model.names
        top = client.predict({"images": images}, signature="top_classes")
        best = np.argsort(-expected, axis=1)[:, : min(5, len(model.names))]
        assert np.allclose(top["scores"], np.take_along_axis(expected, best, axis=1), rtol=0, atol=1e-5)
        assert {"original"} <= client.metadata().signatures.keys()
        if model.output == "probabilities":
            assert client.classify(list(files)).labels.tolist() == [model.names[row.argmax()] for row in expected]


def test_weights_are_stored_once(published, tf):
    """A bug of Keras's ExportArchive stores each twice."""
    for name, model in published.items():
        index = model.base_path / "1" / "variables" / "variables"
        sizes = [int(np.prod(shape)) for variable, shape in tf.train.list_variables(str(index)) if shape]
        original = {"binary": 8 * 8 * 3 + 1, "logits": 81 * 4 + 4, "multi_label": 3 * 3 * 3 * 8 + 8 + (8 * 4 + 4) * 2}
        if name in original:
            assert sum(sizes) == original[name]


def test_the_card_says_where_the_model_came_from(published):
    card = json.loads((published["binary"].base_path / "1" / "assets.extra" / "hangtag.json").read_text())
    assert card["class_names"] == ["cat", "dog"]
    assert card["image_shape"] == [8, 8, 3]
    assert (card["pixels"], card["scores"], card["output"]) == ("0..255", "sigmoid", "probabilities")
    assert card["source"]["file"].endswith("binary.h5")
    assert card["source"]["format"] == "h5"
    assert len(card["source"]["sha256"]) == 64
    card = json.loads((published["tf1_graph"].base_path / "1" / "assets.extra" / "hangtag.json").read_text())
    assert card["source"]["format"] == "savedmodel"
    assert card["source"]["signature"] == "serving_default"


# ---- from Python; the version is verified in this process, which is quicker than in a fresh one


@pytest.fixture
def verified_here(monkeypatch) -> None:
    def verify(folder: Path, images: np.ndarray, expected: np.ndarray, names: Any, *, output: str, tolerance: float):
        answers = verification._answers(str(folder), images, len(names))
        verification._compare(answers, expected, np.array(names), output, tolerance)

    monkeypatch.setattr(pipeline, "verify", verify)


def small(keras: Any, shape: tuple[int | None, ...], *layers: Any, **options: Any) -> Any:
    flatten = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input(shape, **options), *layers, *flatten])


@pytest.mark.usefixtures("verified_here")
def test_a_model_of_channels_first(keras, tmp_path):
    done = publish(small(keras, (3, 6, 8)), ["a", "b", "c"], tmp_path / "x", pixels="caffe")
    assert (done.version, done.folder) == (1, tmp_path / "x" / "1")
    assert done.card["image_shape"] == [6, 8, 3]
    assert done.card["source"] == {"format": "python", "file": None, "sha256": None, "keras": keras.__version__}


@pytest.mark.usefixtures("verified_here")
def test_a_model_that_takes_one_image_at_a_time(keras, tmp_path):
    done = publish(small(keras, (6, 8), batch_size=1), ["a", "b", "c"], tmp_path / "x", pixels="0..255")
    assert done.card["image_shape"] == [6, 8]


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize("dtype", ["mixed_float16", "bfloat16"])
def test_a_model_that_computes_in_16_bits(keras, tmp_path, dtype):
    convolve = keras.layers.Conv2D(4, 3, dtype=dtype)
    assert publish(small(keras, (6, 8, 1), convolve), ["a", "b", "c"], tmp_path / "x", pixels="0..1").version == 1


@pytest.mark.usefixtures("verified_here")
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


@pytest.mark.usefixtures("verified_here")
def test_other_classes_or_another_shape_need_replace(keras, tmp_path):
    """And nothing is left of what was refused."""
    base_path = tmp_path / "x"
    publish(small(keras, (6, 8)), ["a", "b", "c"], base_path, pixels="0..1")
    with pytest.raises(GateNotMet, match=r"version 1 in .* has other classes: publish to another base path, or with"):
        publish(small(keras, (6, 8)), ["a", "b", "d"], base_path, pixels="0..1")
    with pytest.raises(GateNotMet, match="takes images of 6x8, not 6x9"):
        publish(small(keras, (6, 9)), ["a", "b", "c"], base_path, pixels="0..1")
    assert [path.name for path in base_path.iterdir()] == ["1"]
    assert publish(small(keras, (6, 9)), ["a", "b", "d"], base_path, pixels="0..1", replace=True).version == 2
    shutil.rmtree(base_path / "2" / "assets.extra")
    with pytest.raises(GateNotMet, match="was not published by Hangtag"):
        publish(small(keras, (6, 9)), ["a", "b", "d"], base_path, pixels="0..1")


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
        ("broken.keras", {}, "Keras cannot load"),
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
def files(keras, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    model = small(keras, (6, 8))
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    (folder / "model.weights.h5").rename(folder / "weights.h5")
    (folder / "broken.keras").write_bytes((folder / "model.keras").read_bytes()[:2000])
    (folder / "text.txt").write_text("x")
    (folder / "folder").mkdir()

    class Own(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    small(keras, (6, 8), Own()).save(folder / "own.keras")
    small(keras, (6, 8), keras.layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    return folder


@pytest.mark.usefixtures("verified_here")
def test_a_layer_of_ones_own_is_registered_by_its_module(keras, tmp_path, monkeypatch):
    (tmp_path / "own_layers_of_a_test.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, inputs): return inputs * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_layers_of_a_test

    small(keras, (6, 8), own_layers_of_a_test.Twice()).save(tmp_path / "own.keras")
    keras.saving.get_custom_objects().clear()
    monkeypatch.delitem(__import__("sys").modules, "own_layers_of_a_test")
    arguments = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x", "pixels": "0..1"}
    with pytest.raises(InvalidInput, match="a layer of your own"):
        publish(tmp_path / "own.keras", **arguments)
    with pytest.raises(InvalidInput, match="cannot import no_such_module"):
        publish(tmp_path / "own.keras", imports=["no_such_module"], **arguments)
    assert publish(tmp_path / "own.keras", imports=["own_layers_of_a_test"], **arguments).version == 1


# ---- gates


@pytest.mark.usefixtures("verified_here")
def test_a_model_is_measured_on_labelled_images(keras, tmp_path):
    """Published with its accuracy, or not at all."""
    labels = np.arange(60) % 3
    images = np.zeros((60, 6, 8), np.uint8) + (labels * 100).astype(np.uint8)[:, None, None]
    data = Dataset("shades", images, labels, images, labels, ("a", "b", "c"), "0" * 64, "memory")
    perfect, constant = small(keras, (6, 8)), small(keras, (6, 8))
    kernel = np.array([[0.0, 0.02, 0.03]], np.float32).repeat(48, axis=0)
    perfect.layers[-1].set_weights([kernel, np.array([0, -0.2, -0.8], np.float32) * 48 * 0.01])
    constant.layers[-1].set_weights([np.zeros((48, 3), np.float32), np.array([5, 0, 0], np.float32)])
    arguments = {"class_names": ["a", "b", "c"], "base_path": tmp_path / "x", "pixels": "0..1", "dataset": data}
    done = publish(perfect, **arguments, min_accuracy=0.9)
    assert done.card["test_accuracy"] == 1
    card = json.loads((done.folder / "assets.extra" / "hangtag.json").read_text())
    assert (card["test_accuracy"], card["dataset"]) == (1, "shades")
    with pytest.raises(GateNotMet, match=r"test accuracy 0\.3333 is below the 0\.9"):
        publish(constant, **arguments, min_accuracy=0.9)
    with pytest.raises(GateNotMet, match=r"below the 1\.0000 of version 1"):
        publish(constant, **arguments, no_worse_than_current=True)
    with pytest.raises(GateNotMet, match="learned nothing"):
        publish(constant, **arguments)
    assert publish(constant, **arguments, force=True).version == 2
    with pytest.raises(InvalidInput, match="has other classes than the model"):
        publish(perfect, **arguments | {"class_names": ["a", "c", "b"]}, replace=True)
    with pytest.raises(InvalidInput, match="an accuracy needs labelled images"):
        publish(perfect, **arguments | {"dataset": None}, min_accuracy=0.9)
