"""Models that Hangtag did not make: outputs of other names and forms, and those that are no scores a class."""

from __future__ import annotations

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag import Client, InvalidInput, UnknownSignature
from sample_images import PICTURES


def float_model(outputs: dict, run) -> Model:
    return Model(
        {"serving_default": Signature({"keras_tensor_4": ("DT_FLOAT", [-1, 28, 28])}, outputs, run)}, name="other"
    )


UNIT = (PICTURES[:3] / 255).astype("f4")
LOGITS = np.array([[3.0, 1.0, -2.0], [0.0, 5.0, 0.0], [0.2, 0.3, 0.9]], "f4")


def test_a_keras_model_that_answers_logits(kind, protocol):
    """Without names the classes are their indices; an image's scores do not depend on the others of its batch."""
    model = float_model(
        {"output_0": ("DT_FLOAT", [-1, 3])}, lambda keras_tensor_4: {"output_0": LOGITS[-len(keras_tensor_4) :]}
    )
    with model_server(model, protocol) as target, opened(kind, target, model="other", scores="logits") as client:
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["0", "1", "2"]
        assert np.allclose(result.probabilities.sum(axis=1), 1)
        assert np.allclose(result.probabilities[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum())
        assert np.array_equal(client.classify(UNIT[-1:]).probabilities, result.probabilities[-1:])
        with pytest.raises(
            InvalidInput, match=r"takes float \[\?, 28, 28\] and the images are uint8: give .* as pixels='0\.\.1' or"
        ):
            client.classify(PICTURES)
        with pytest.raises(UnknownSignature, match=r"does not give its class names; pass labels=\[…\]"):
            client.labels()
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=["a", "b", "c"], scores="logits") as client,
    ):
        assert client.classify(UNIT).labels.tolist() == ["a", "b", "c"]
        assert client.labels() == ["a", "b", "c"]
    too_few = pytest.raises(InvalidInput, match="2 class names for the 3 classes of other")
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=["a", "b"]) as client,
        too_few,
    ):
        client.classify(UNIT)


def ranked_model() -> Model:
    """Answers the two best classes by name, for three images."""
    names = np.array([[b"boot", b"bag"], [b"hat", b"boot"], [b"bag", b"hat"]], object)
    scores = np.array([[0.7, 0.2], [0.6, 0.4], [0.5, 0.3]], "f4")
    return float_model(
        {"classes": ("DT_STRING", [-1, 2]), "scores": ("DT_FLOAT", [-1, 2])},
        lambda keras_tensor_4: {"classes": names, "scores": scores},
    )


def test_a_model_that_answers_classes_and_scores(kind, protocol):
    model = ranked_model()
    with model_server(model, protocol) as target, opened(kind, target, model="other") as client:
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["boot", "hat", "bag"]
        assert result.class_names == ("boot", "bag", "hat")
        assert np.allclose(result.probabilities, [[0.7, 0.2, 0], [0.4, 0, 0.6], [0, 0.5, 0.3]])
    with (
        model_server(model, protocol) as target,
        opened(kind, target, model="other", labels=["hat", "bag", "boot"]) as client,
    ):
        result = client.classify(UNIT)
        assert result.labels.tolist() == ["boot", "hat", "bag"]
        assert result.class_names == ("hat", "bag", "boot")


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (["hat", "hat", "bag", "boot"], [[0, 0, 0.2, 0.7], [0.6, 0, 0, 0.4], [0.3, 0, 0.5, 0]]),
        (["bag", "boot", "hat", "boot"], [[0.2, 0.7, 0, 0], [0, 0.4, 0.6, 0], [0.5, 0, 0.3, 0]]),
    ],
)
def test_of_classes_with_one_name_the_first_is_used_for_both(kind, protocol, labels, probabilities):
    """Where only the names tell the classes apart; the columns stay those of `labels`."""
    with (
        model_server(ranked_model(), protocol) as target,
        opened(kind, target, model="other", labels=labels) as client,
    ):
        result = client.classify(UNIT)
    assert result.class_names == tuple(labels)
    assert np.allclose(result.probabilities, probabilities)
    assert result.labels.tolist() == ["boot", "hat", "bag"]


def test_a_name_that_is_answered_twice_keeps_its_better_score(kind, protocol):
    names = np.array([[b"boot", b"boot", b"bag"]], object)
    model = float_model(
        {"classes": ("DT_STRING", [-1, 3]), "scores": ("DT_FLOAT", [-1, 3])},
        lambda keras_tensor_4: {"classes": names, "scores": np.array([[0.5, 0.3, 0.1]], "f4")},
    )
    with model_server(model, protocol) as target, opened(kind, target, model="other") as client:
        (row,) = client.classify(UNIT[:1])
    assert (row.label, round(row.score, 6), row.class_names) == ("boot", 0.5, ("boot", "bag"))


def test_hangtags_own_top_classes_signature_classifies_too(server, images, kind, protocol):
    with opened(kind, server.target(protocol), signature="top_classes", timeout=60) as client:
        result = client.classify(images[:20])
        assert len(result.class_names) == 10
        with Client(server.grpc, timeout=60) as plain:
            assert (result.labels == plain.classify(images[:20]).labels).all()


def test_outputs_that_are_no_scores_are_refused(kind):
    model = float_model({"a": ("DT_FLOAT", [-1]), "b": ("DT_FLOAT", [-1])}, None)
    refused = pytest.raises(InvalidInput, match=r"gives a, b, not one score per class: choose one by output='NAME'")
    with model_server(model, "grpc") as target, opened(kind, target, model="other") as client, refused:
        client.classify(UNIT)
    model = float_model({"label": ("DT_INT64", [-1])}, None)
    refused = pytest.raises(InvalidInput, match=r"label is int64 \[\?\], which is not one score per class: use predict")
    labels = ["no", "yes"]
    with model_server(model, "grpc") as target, opened(kind, target, model="other", labels=labels) as client, refused:
        client.classify(UNIT)


@pytest.mark.parametrize("shape", [[-1, 1], [-1], [-1, -1]], ids=["column", "flat", "open"])
def test_one_score_an_image_needs_two_class_names(kind, protocol, shape):
    """A binary model with one sigmoid (or logit): which side is which only the caller knows."""
    model = float_model(
        {"output_0": ("DT_FLOAT", shape)},
        lambda keras_tensor_4: {
            "output_0": np.array([[0.25], [0.75], [0.5]], "f4")[: len(keras_tensor_4)].reshape(
                (len(keras_tensor_4), 1)[: len(shape)]
            )
        },
    )
    with model_server(model, protocol) as target:
        with opened(kind, target, model="other") as client:
            with pytest.raises(InvalidInput, match=r"one number per image, .* labels=\[negative, positive\]"):
                client.classify(UNIT)
            assert client.predict({"keras_tensor_4": UNIT})["output_0"].ravel().tolist() == [0.25, 0.75, 0.5]
        assert model.predicts == (2 if shape == [-1, -1] else 1)  # what the signature says is not tried
        for options, positive in (({}, [0.25, 0.75, 0.5]), ({"scores": "logits"}, [0.562, 0.679, 0.622])):
            with opened(kind, target, model="other", labels=["cats", "dogs"], **options) as client:
                for _ in range(2):  # the second time by what is remembered
                    result = client.classify(UNIT)
                    assert np.allclose(result.probabilities[:, 1], positive, atol=1e-3)
                    assert np.allclose(result.probabilities.sum(axis=1), 1)
                    assert not result.independent
                assert client.classify(UNIT[:1]).labels.tolist() == (["dogs"] if options else ["cats"])


def test_the_one_best_class_by_name_is_enough(kind, protocol):
    model = float_model(
        {"classes": ("DT_STRING", [-1, 1]), "scores": ("DT_FLOAT", [-1, 1])},
        lambda keras_tensor_4: {"classes": np.array([[b"boot"]], object), "scores": np.array([[0.5]], "f4")},
    )
    with model_server(model, protocol) as target, opened(kind, target, model="other") as client:
        assert client.classify(UNIT[:1]).labels.tolist() == ["boot"]


@pytest.mark.parametrize("size", [1, 2])
def test_a_model_of_a_fixed_batch_size_gets_requests_of_that_size(kind, protocol, size):
    seen, plain = [], FIRST_PIXEL["serving_default"]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(len(images))
        return plain.run(images)

    fixed = Signature({"images": ("DT_UINT8", [size, 28, 28])}, {"probabilities": ("DT_FLOAT", [size, 10])}, run)
    model = Model({**FIRST_PIXEL, "serving_default": fixed})
    with (
        model_server(model, protocol) as target,
        opened(kind, target, batch_size=10, timeout=60) as client,
    ):
        for _ in range(2):  # what was accepted once is looked at again
            assert client.classify(PICTURES[:6]).indices.tolist() == list(range(6))
            assert client.classify(PICTURES[:size]).indices.tolist() == list(range(size))
            if size == 2:
                for images in (PICTURES[:7], PICTURES[0]):
                    with pytest.raises(
                        InvalidInput, match=r"fashion takes 2 images at a time, and [17] is not a multiple"
                    ):
                        client.classify(images)
        parts = client.classify_stream([PICTURES[:2], PICTURES[2:6], PICTURES[6:8]])
        assert [part.indices.tolist() for part in parts] == [[0, 1], [2, 3, 4, 5], [6, 7]]
    assert set(seen) == {size}


def test_a_plain_keras_export_on_the_real_server(images, tmp_path):
    """`model.export()` of a model that returns logits and has an input with a name of Keras's own."""
    from hangtag.optional import require
    from support import serving

    keras = require("keras", extra="export", what="the test")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.export(tmp_path / "plain" / "1", verbose=False)
    unit = (images[:700] / 255).astype("f4")
    expected = keras.ops.softmax(model(unit)).numpy()
    with serving(tmp_path / "plain", tmp_path / "log", model="plain") as server:
        for target in (server.grpc, server.rest):
            with Client(
                target, model="plain", timeout=60, labels=["north", "east", "south", "west"], scores="logits"
            ) as client:
                result = client.classify(unit)
                assert np.allclose(result.probabilities, expected, atol=1e-5)
                assert result.labels[0] == ["north", "east", "south", "west"][expected[0].argmax()]
