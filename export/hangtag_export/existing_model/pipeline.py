"""Publishes a model that is already trained, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import contract
from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..data import DATASET
from ..data.class_names import read_class_names
from ..data.dataset import Dataset
from ..data.fashion_mnist import load_fashion_mnist
from ..data.folder import load_images
from ..evaluation import compare
from ..publishing import gates
from ..publishing.atomic import publish as publish_folder
from ..publishing.atomic import staging
from ..publishing.model_config import ModelConfig
from ..publishing.versions import prune
from ..savedmodel import card, signatures
from ..savedmodel.published import predict
from ..savedmodel.verification import TOLERANCE, TOLERANCE_16_BITS, Verifier
from .inputs import ImageInput, image_input, pixel_range, size_of
from .loading import Source, argument_name, load
from .outputs import ScoreOutput, check_scores, choose_output, last_operation, score_output

Say = Callable[[str], None]

_WHAT = "publishing a model"
_SAMPLES = 16  # images for which every signature is compared with the model before publishing


@dataclass(frozen=True)
class Published:
    """The new version: its number, its folder, and its model card."""

    version: int
    folder: Path
    card: dict[str, Any]


def publish(
    model: Any,
    class_names: Any,
    base_path: str | Path,
    *,
    model_name: str | None = None,
    pixels: str | None = None,
    scores: str | None = None,
    output: str | None = None,
    signature: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    imports: Sequence[str] = (),
    dataset: str | Path | Dataset | None = None,
    min_accuracy: float | None = None,
    no_worse_than_current: bool = False,
    force: bool = False,
    replace: bool = False,
    keep: int | None = None,
    config: str | Path | None = None,
    say: Say = lambda _: None,
) -> Published:
    """Write Hangtag's six signatures around a trained model, verify them, and publish it as the next version.

    Nothing is trained, and the weights stay unchanged. The model's own signature is also published, as `original`.

        >>> publish("cats.keras", ["cat", "dog"], "models/cats", pixels="0..1")  # doctest: +SKIP
        Published(version=1, folder=PosixPath('models/cats/1'), …)

    Args:
        model: a Keras model, or the path of a `.keras` or `.h5` file (of Keras 2, too) or of a SavedModel folder. It
            takes one image input [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W].
        class_names: in label order: a list, or the path of a text file (one name per line), a JSON file, or a folder
            with one folder per class. For a single sigmoid, two names: the class of 0, then the class of 1.
        base_path: the local folder of the model's versions.
        model_name: for the warmup records; the base path's name by default.
        pixels: the range that the model takes, one of "0..1", "0..255", "-1..1", "imagenet" and "caffe". Needed unless
            the model's first layer is a Rescaling or a Normalization, or its input is of whole numbers.
        scores: "probabilities", "logits" or "sigmoid". Needed unless the model ends in a softmax or a sigmoid.
        output: the name of the output with the scores, if the model has several outputs.
        signature: the signature of a SavedModel; by default `serving_default`, or the only one.
        image_size: height and width, for a model that takes images of any size or flattened images.
        imports: modules to import before loading, which register your own layers.
        dataset: labelled images with the model's class names, to measure the model before it is published: a
            `Dataset`, "fashion-mnist", or a folder with one folder per class. Only its test images are used.
        min_accuracy: publish only if the accuracy on these images is at least this.
        no_worse_than_current: publish only if at least as accurate on these images as the newest version.
        force: publish even if the model predicts one class for nearly all images, or is no better than chance.
        replace: publish even if the newest version has other classes or takes images of another shape.
        keep: afterwards remove all but this many of the newest versions, and those that `config` needs.
        config: TensorFlow Serving's model config file, whose versions `keep` does not remove.
        say: called with a line of text for each step.

    Raises:
        InvalidInput: the model or an option is wrong; the message says what to do.
        GateNotMet: the model is not good enough, or the newest version has other classes; nothing was published.
        ExportError: the version could not be written, or does not answer as the model does; nothing was published.
    """
    base_path = Path(base_path)
    if dataset is None and (min_accuracy is not None or no_worse_than_current):
        raise InvalidInput("an accuracy needs labelled images: give --dataset, fashion-mnist or a folder")
    _check("pixels", pixels, contract.RANGES)
    _check("scores", scores, contract.SCORES)
    names = read_class_names(class_names)
    size = size_of(image_size)
    model_name = model_name or Path(realpath(base_path)).name
    model_config = None if config is None or keep is None else ModelConfig(Path(config), model_name)
    with staging(base_path) as folder, Verifier() as verifier:
        source = load(model, signature, imports)
        taken = pixel_range(source, pixels, say)
        images = image_input(source.shape, size, taken, is_integer=source.dtype.is_integer)
        original = _original(source, images)
        scored = _score_output(original, output, scores, names)
        say(
            f"takes {'x'.join(map(str, images.image_shape))} images with pixels {images.pixels}, "
            f"returns {scored.scores} for {len(names)} classes"
        )
        gates.check_replacement(base_path, names, images.image_shape, replace=replace, output=scored.signature_output)
        if no_worse_than_current:
            gates.check_comparable(base_path, names, images.image_shape)
        labelled = None if dataset is None else _labelled(dataset, images.image_shape, names, scored)

        sample = _sample(images.image_shape)
        tolerance = TOLERANCE_16_BITS if _computes_in_16_bits(original) else TOLERANCE
        expected = _expected(source, images, scored, sample)
        check_scores(scored, expected, tolerance)
        classifier = _classifier(source, images, scored, original)
        signatures.write(classifier, names, folder)
        document = card.of_existing_model(
            names,
            source=source.origin,
            image_shape=images.image_shape,
            pixels=images.pixels,
            scores=scored.scores,
            output=scored.signature_output,
        )
        if labelled is not None:
            evaluation = compare(predict(folder, labelled.test_images)[0], labelled.test_labels, names)
            say(f"test accuracy {evaluation.accuracy:.4f} on {len(labelled.test_images):,} images")
            gates.check(
                evaluation,
                labelled.test_images,
                labelled.test_labels,
                base_path,
                min_accuracy=min_accuracy,
                no_worse_than_current=no_worse_than_current,
            )
            if not force:
                gates.check_learned(evaluation)
            document |= {"dataset": labelled.name, "dataset_sha256": labelled.checksum, **evaluation.to_dict()}
        card.write_beside(folder, document, sample[:1], model_name)
        verifier.verify(folder, sample, expected, names, output=scored.signature_output, tolerance=tolerance)
        say(f"every signature gives the model's own outputs for {len(sample)} test images")
        version = publish_folder(folder, base_path)
    if keep is not None:
        removed = prune(base_path, keep, model_config)
        say(f"removed {', '.join(map(str, removed)) or 'no old version'}")
    return Published(version, base_path / str(version), document)


def _check(option: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise InvalidInput(f"{option} {value!r} is not one of {', '.join(allowed)}")


def _labelled(
    dataset: str | Path | Dataset, image_shape: tuple[int, ...], names: Sequence[str], scored: ScoreOutput
) -> Dataset:
    """The data set to measure the model on. Raises InvalidInput if it is not for this model."""
    if scored.signature_output != contract.PROBABILITIES:
        raise InvalidInput("a multi-label model cannot be evaluated on images with one class each: leave out --dataset")
    if not isinstance(dataset, Dataset):
        dataset = load_fashion_mnist() if dataset == DATASET else load_images(dataset, image_shape)
    if dataset.class_names != tuple(names):
        raise InvalidInput(f"{dataset.origin} has other classes than the model, or in another order")
    if dataset.image_shape != image_shape:
        raise InvalidInput(f"{dataset.origin} has images of {dataset.image_shape}, and the model takes {image_shape}")
    return dataset


def _original(source: Source, images: ImageInput) -> Any:
    """The model's original signature, as a concrete function."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    spec = tf.TensorSpec(source.shape, source.dtype, name=argument_name(source.input_name))

    def original(batch: Any) -> dict[str, Any]:
        return {name: tf.identity(tensor) for name, tensor in source.call(batch).items()}

    try:
        return tf.function(original, input_signature=[spec], autograph=False).get_concrete_function()
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InvalidInput(f"the model does not take {source.shape}: {' '.join(str(error).split())[:300]}") from error


def _score_output(original: Any, wanted: str | None, declared: str | None, names: Sequence[str]) -> ScoreOutput:
    outputs = original.structured_outputs
    name = choose_output(sorted(outputs), wanted)
    if not outputs[name].dtype.is_floating:
        raise InvalidInput(
            f"output {name!r} is of {outputs[name].dtype.name}: scores are of float32, one for each class"
        )
    if outputs[name].shape.rank is None:
        raise InvalidInput(f"output {name!r} has no shape: a classifier's is [N, C], one number for each class")
    shape = outputs[name].shape.as_list()
    return score_output(name, shape, last_operation(original, name), declared, names)


def _classifier(source: Source, images: ImageInput, scored: ScoreOutput, original: Any) -> signatures.Classifier:
    """The model with its input and output adapted, as functions in the graph."""
    tf = require("tensorflow", extra="export", what=_WHAT)

    def call(prepared: Any) -> Any:
        if images.batch is None:
            return source.call(prepared)[scored.name]
        one_by_one = tf.map_fn(
            lambda image: tf.cast(source.call(image[None])[scored.name], tf.float32),
            prepared,
            fn_output_signature=tf.float32,
        )
        return tf.reshape(one_by_one, (-1, 1 if scored.is_single else scored.classes))

    def score(prepared: Any) -> Any:
        prepared = tf.cast(tf.round(prepared) if images.is_integer else prepared, source.dtype)
        probabilities = scored.probabilities(call(prepared))
        return tf.ensure_shape(probabilities, (None, scored.classes))

    prepared = images.prepare(np.zeros((1, *images.image_shape), np.float32))
    spec = tf.TensorSpec((None, *prepared.shape[1:]), tf.float32)
    concrete = tf.function(score, input_signature=[spec], autograph=False).get_concrete_function()
    own = source.variables
    if source.keras_model is not None:
        own = signatures.captured_variables(concrete, source.keras_model)
    return signatures.Classifier(
        image_shape=images.image_shape,
        from_pixels=lambda pixels: concrete(images.prepare(pixels)),
        from_unit=lambda floats: concrete(images.prepare(floats, unit=True)),
        output=scored.signature_output,
        variables=own,
        resources=source.resources,
        original=original,
    )


def _sample(shape: Sequence[int]) -> np.ndarray:
    """Test images, uint8 [N, *shape]: noise, gradients, and two images of one colour."""
    chance = np.random.default_rng(0)
    each = (_SAMPLES, *(1,) * len(shape))
    noise = chance.integers(0, 256, (_SAMPLES, *shape))
    ramp = np.linspace(0, 255, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    images = np.where(chance.random(each) < 0.5, noise, ramp * chance.random(each))
    images[0], images[1] = 0, 255
    return images.astype(np.uint8)


def _expected(source: Source, images: ImageInput, scored: ScoreOutput, sample: np.ndarray) -> np.ndarray:
    """The model's own probabilities, float64 [N, C], with inputs and outputs converted by numpy."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    prepared = images.prepare(sample.astype(np.float32))
    step = images.batch or len(prepared)
    try:
        parts = [
            tf.cast(source.call(tf.cast(prepared[start : start + step], source.dtype))[scored.name], tf.float32).numpy()
            for start in range(0, len(prepared), step)
        ]
    except tf.errors.OpError as error:
        reason = str(error.message).strip().splitlines()[-1][:300]
        raise InvalidInput(f"the model does not take {step} images of {images.image_shape}: {reason}") from error
    return scored.expected(np.concatenate([part.reshape(step, -1) for part in parts]))


def _computes_in_16_bits(function: Any) -> bool:
    """Whether any operation of a concrete function computes in float16 or bfloat16."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    graph = function.graph.as_graph_def()
    types = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum}
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return any(node.attr["T"].type in types or node.attr["DstT"].type in types for node in nodes)
