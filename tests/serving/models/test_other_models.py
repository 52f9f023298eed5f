"""Models of other makers: signatures that share one input of tf.Examples, and class names out of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from tensorflow_serving.apis import inference_pb2, prediction_log_pb2

from hangtag import Client
from hangtag.contract import WARMUP
from hangtag.fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH
from hangtag.optional import require
from hangtag_serving.api.warmup import warm_up
from hangtag_serving.errors import ServingError
from hangtag_serving.models.freezing import Parts
from hangtag_serving.models.servable import Servable
from support import Server, eventually, serving

WEIGHTS = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32) * 0.02
SHARED = "examples"  # the node that both signatures of `save_examples` read


@pytest.fixture(scope="module")
def tf():
    return require("tensorflow", extra="serving", what="the test")


def save_examples(tf, folder: Path) -> None:
    """As estimators export: a graph with one placeholder for tf.Examples, a classification and a regression of it."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], SHARED)
        pixels = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([784], tf.float32)})["image"]
        scores = tf.nn.softmax(pixels @ v1.get_variable("weights", initializer=WEIGHTS))
        classes = tf.tile(tf.constant([CLASS_NAMES]), [tf.shape(scores)[0], 1])
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signatures = {
            "garment": v1.saved_model.classification_signature_def(examples, classes, scores),
            "brightness": v1.saved_model.regression_signature_def(examples, tf.reduce_mean(pixels, axis=1)),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    write_warmup(tf, folder, *warmup_logs())


def warmup_logs() -> list[prediction_log_pb2.PredictionLog]:
    """A request of each kind for that model, and an empty log, which is skipped."""
    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    classify, regress, multi = (
        logs[0].classify_log.request,
        logs[1].regress_log.request,
        logs[2].multi_inference_log.request,
    )
    classify.model_spec.signature_name, regress.model_spec.signature_name = "garment", "brightness"
    task = multi.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.name, task.model_spec.signature_name = "examples", "garment"
    for request in (classify, regress, multi):
        example = request.input.example_list.examples.add()
        example.features.feature["image"].float_list.value.extend([0.5] * 784)
    return logs


def write_warmup(tf, folder: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    file = folder / WARMUP
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def save_names(tf, folder: Path, names: tuple[str, ...], scratch: Path) -> None:
    """A model that answers with names from a table, which is filled from a file, and whose other signature has none."""
    vocabulary = scratch / "names.txt"
    vocabulary.write_text("\n".join(names))
    lookup = tf.lookup
    whole = lookup.TextFileIndex.LINE_NUMBER, tf.string, lookup.TextFileIndex.WHOLE_LINE
    images = tf.TensorSpec([None, 28, 28], tf.uint8, "images")
    model = tf.Module()
    model.weights = tf.Variable(WEIGHTS)
    model.table = lookup.StaticHashTable(lookup.TextFileInitializer(str(vocabulary), tf.int64, *whole), "?")

    def probabilities(images):
        return tf.nn.softmax(tf.reshape(tf.cast(images, tf.float32) / 255, [-1, 784]) @ model.weights)

    @tf.function(input_signature=[images])
    def named(images):
        return {"classes": model.table.lookup(tf.argmax(probabilities(images), axis=1))}

    @tf.function(input_signature=[images])
    def plain(images):
        return {"probabilities": probabilities(images)}

    tf.saved_model.save(model, str(folder), {"serving_default": named, "plain": plain})
    vocabulary.unlink()  # the version has a copy


def save_vocabulary(tf, folder: Path) -> None:
    """Keras's own table, through its ExportArchive: names to indices, 0 for one that it does not know."""
    keras = require("keras", extra="export", what="the test")
    names = keras.Input([], dtype="string", name="names")
    model = keras.Model(names, keras.layers.StringLookup(vocabulary=list(CLASS_NAMES))(names))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec([None], tf.string, "names")]
    archive.add_endpoint("serving_default", lambda names: {"index": model(names)}, spec)
    archive.write_out(str(folder), verbose=False)


def save_unneeded(tf, folder: Path, saved: str | None = None) -> None:
    """As TensorFlow 1 exports: a signature with an input that no output needs, and a variable of each kind.

    `saved`: the only variable whose value is in the version.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x, unneeded = (v1.placeholder(tf.float32, [None, 3], name) for name in ("x", "unneeded"))
        factor = v1.get_variable("factor", initializer=np.float32([1, 2, 3]), use_resource=False)
        offset = v1.get_variable("offset", initializer=np.float32([1, 1, 1]), use_resource=True)
        signature = v1.saved_model.predict_signature_def({"x": x, "unneeded": unneeded}, {"y": x * factor + offset})
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        saver = v1.train.Saver([v for v in v1.global_variables() if saved in (None, v.op.name)])
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
        builder.save()


@pytest.fixture(scope="module")
def models(tf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    save_examples(tf, folder / "examples" / "1")
    save_names(tf, folder / "names" / "1", CLASS_NAMES, folder)
    save_vocabulary(tf, folder / "vocabulary" / "1")
    save_unneeded(tf, folder / "unneeded" / "1")
    return folder


@pytest.fixture(scope="module")
def others(models: Path) -> Iterator[Server]:
    """A server of all of them."""
    config = models / "models.config"
    listed = "".join(
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
        for name in ("examples", "names", "vocabulary", "unneeded")
    )
    config.write_text(f"model_config_list {{ {listed} }}")
    flags = [f"--model_config_file={config}", "--file_system_poll_wait_seconds=0.1"]
    flags += ["--enable_signature_method_name_check"]
    with serving(models, models / "log", *flags, model="names") as server:
        yield server


@pytest.fixture(scope="module")
def examples(models) -> Iterator[Servable]:
    servable = Servable("examples", 1, models / "examples" / "1")
    yield servable
    servable.close()


def test_warmup_requests_of_every_kind_are_run(examples, models):
    assert warm_up(examples, models / "examples" / "1") == 4


def test_warmup_that_cannot_be_run_says_why(tf, examples, tmp_path):
    """A version with any of these does not load, as in C++."""
    unsupported = prediction_log_pb2.PredictionLog()
    unsupported.session_run_log.SetInParent()
    wrong = warmup_logs()[0]
    wrong.classify_log.request.model_spec.signature_name = "nope"
    refused = {}
    for name, logs in {
        "unsupported": [unsupported],
        "wrong": [wrong],
        "many": [unsupported.__class__()] * 1001,
    }.items():
        write_warmup(tf, tmp_path, *logs)
        with pytest.raises(ServingError) as caught:
            warm_up(examples, tmp_path)
        refused[name] = caught.value
    assert refused["unsupported"].code == "UNIMPLEMENTED"
    assert refused["wrong"].message == "No signature was found with the name: nope"
    assert refused["many"].message == f"Number of warmup records exceeds the maximum (1000) at {tmp_path / WARMUP}"
    with tf.io.TFRecordWriter(str(tmp_path / WARMUP)) as writer:
        writer.write(b"\xff\xff")
    with pytest.raises(ServingError, match=r"^Failed to parse warmup record: "):
        warm_up(examples, tmp_path)


def test_several_tasks_over_one_input_are_answered_as_tensorflow_does(tf, models, others, images):
    """MultiInference: a classification and a regression of the same examples, in the order of the tasks."""
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (("brightness", "regress"), ("garment", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "examples", signature
    for image in images[:5]:
        example = request.input.example_list.examples.add()
        example.features.feature["image"].float_list.value.extend((image / np.float32(255)).ravel())
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(models / "examples" / "1")).signature_def
        garment, brightness = signatures["garment"].outputs, signatures["brightness"].outputs
        wanted = [garment["classes"].name, garment["scores"].name, brightness["outputs"].name]
        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        classes, scores, light = session.run(wanted, {f"{SHARED}:0": examples})

    with grpc.insecure_channel(others.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/MultiInference")
        answer = inference_pb2.MultiInferenceResponse.FromString(call(request.SerializeToString(), timeout=60))
    regressed, classified = answer.results
    for result, signature in ((regressed, "brightness"), (classified, "garment")):
        spec = result.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("examples", 1, signature)
    results = [
        [(one.label, one.score) for one in row.classes] for row in classified.classification_result.classifications
    ]
    assert [[label for label, _ in row] for row in results] == [[name.decode() for name in row] for row in classes]
    np.testing.assert_allclose([[score for _, score in row] for row in results], scores, atol=1e-6)
    np.testing.assert_allclose([one.value for one in regressed.regression_result.regressions], light, atol=1e-6)


def test_names_come_out_of_a_table_before_and_after_a_new_version(tf, models, others, images, tmp_path):
    """The signature with the table runs as it was loaded, the other as constants; version 2 brings its own table."""
    expected = np.exp(images[:50].reshape(-1, 784) / np.float32(255) @ WEIGHTS)
    expected /= expected.sum(axis=1, keepdims=True)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        version = tf.compat.v1.saved_model.load(session, ["serve"], str(models / "names" / "1"))
        parts = Parts(session.graph.as_graph_def())
        assert not parts.is_stateless(version.signature_def["serving_default"])
        assert parts.is_stateless(version.signature_def["plain"])

    for number, names in ((1, CLASS_NAMES), (2, CLASS_NAMES_ZH)):
        if number == 2:
            save_names(tf, tmp_path / "staged", names, tmp_path)
            (tmp_path / "staged").rename(models / "names" / "2")
        for target in (others.grpc, others.rest):
            with Client(target, model="names") as client:
                eventually(
                    lambda client=client, number=number: (
                        [v.version for v in client.status() if v.state == "AVAILABLE"] == [number]
                    ),
                    f"version {number} alone",
                )
                answers = client.predict({"images": images[:50]})["classes"]
                assert [name.decode() for name in answers] == [names[n] for n in expected.argmax(axis=1)]
                plain = client.predict({"images": images[:50]}, signature="plain")["probabilities"]
                np.testing.assert_allclose(plain, expected, atol=1e-5)


def test_a_keras_vocabulary_is_looked_up(others):
    for target in (others.grpc, others.rest):
        with Client(target, model="vocabulary") as client:
            names = np.array([b"Bag", b"T-shirt/top", b"Hat"], object)
            assert client.predict({"names": names})["index"].tolist() == [9, 1, 0]


def test_an_input_that_no_output_needs_is_taken(others):
    for target in (others.grpc, others.rest):
        with Client(target, model="unneeded") as client:
            x = np.float32([[1, 1, 1], [0, 1, 2]])
            assert client.predict({"x": x, "unneeded": x})["y"].tolist() == [[2, 3, 4], [1, 3, 7]]


def test_a_variable_without_a_value_is_named(tf, tmp_path):
    """Among others of both kinds, resources and references."""
    save_unneeded(tf, tmp_path / "1", saved="factor")
    with pytest.raises(ServingError, match=r"^Could not find variable offset\. The version has no value for it"):
        Servable("unneeded", 1, tmp_path / "1")


def test_a_signature_must_be_for_the_api_that_it_is_called_by_if_the_flag_says_so(others):
    """With --enable_signature_method_name_check; a TensorFlow 2 export says of all its signatures that they predict."""
    url = f"{others.rest}/v1/models/names:classify"
    answer = requests.post(url, json={"examples": [{"image": 1.0}]}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        "Expected classification signature method_name to be tensorflow/serving/classify. Was: "
        "tensorflow/serving/predict"
    )


def test_a_string_of_rank_0_comes_back(recorded):
    """Over both protocols; TensorFlow hands it over as bytes, not as an array."""
    answer = requests.post(
        f"{recorded.rest}/v1/models/types:predict",
        json={"signature_name": "string", "inputs": {"b64": "aGk="}},
        timeout=60,
    )
    assert (answer.status_code, answer.json()) == (200, {"outputs": "hi"})
    with Client(recorded.grpc, model="types") as client:
        assert client.predict({"x": np.array(b"hi", object)}, signature="string")["y"].item() == b"hi"
