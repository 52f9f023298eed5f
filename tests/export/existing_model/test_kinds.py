"""Models of several kinds, published by one command each, served, and classified over both protocols as Keras does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hangtag import Client
from hangtag.cli.main import main
from hangtag.optional import require
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


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


def mobilenet(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """Random weights, 1,000 Chinese class names from a text file, pixels -1..1."""
    model = keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None)
    model.save(folder / "mobilenet.keras")
    (folder / "names.txt").write_text("\n".join(CHINESE) + "\n", encoding="utf-8")
    arguments = [str(folder / "mobilenet.keras"), f"--class-names={folder / 'names.txt'}", "--pixels", "-1..1"]
    predict = lambda images: model.predict_on_batch(floats(images) / 127.5 - 1)  # noqa: E731
    return arguments, Published(folder, CHINESE, (96, 96, 3), predict)


def tf1_graph(folder: Path, keras: Any, tf: Any) -> tuple[list[str], Published]:
    """A SavedModel of TensorFlow 1, with variables of its old kind, and a table of class names."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        with v1.variable_scope("model", use_resource=False):
            images = v1.placeholder(tf.float32, [None, 12, 10, 3], name="input")
            weights = v1.get_variable("weights", [360, 3], initializer=v1.random_normal_initializer(seed=1))
            scores = tf.nn.softmax(tf.matmul(tf.reshape(images, [-1, 360]), weights) / 9)
        numbers, colours = tf.constant([0, 1, 2], tf.int64), tf.constant(["red", "green", "blue"])
        table = v1.lookup.StaticHashTable(v1.lookup.KeyValueTensorInitializer(numbers, colours), "?")
        outputs = {"scores": scores, "label": table.lookup(tf.argmax(scores, -1))}
        initialize = v1.tables_initializer()
        session.run([v1.global_variables_initializer(), initialize])
        v1.saved_model.simple_save(session, str(folder / "graph"), {"input": images}, outputs, initialize)
        values = session.run(weights)
    arguments = [str(folder / "graph"), "--class-names=red,green,blue", "--pixels=0..1", "--output=scores"]
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


KINDS = (binary, mobilenet, tf1_graph, keras_2_file, logits, multi_label)


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


def test_the_original_signature_has_its_tables(published, server):
    images = np.random.default_rng(5).integers(0, 256, (4, 12, 10, 3), dtype=np.uint8)
    names = published["tf1_graph"].names
    expected = [names[row.argmax()].encode() for row in published["tf1_graph"].predict(images)]
    with Client(server.grpc, model="tf1_graph", timeout=60) as client:
        answer = client.predict({"input": floats(images) / np.float32(255)}, signature="original")
    assert answer["label"].tolist() == expected


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
