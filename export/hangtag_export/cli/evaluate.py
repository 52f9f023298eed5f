"""The command `hangtag evaluate`: measures a running server or a version on disk with labelled images."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hangtag.cli import connection
from hangtag.cli.terminal import Progress, done
from hangtag.errors import InvalidInput

from ..data import DATASET
from . import argument_types

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation import Evaluation

BATCH = 32
"""Images per call: a typical size that gives enough calls for percentiles."""


class Labelled(NamedTuple):
    """Images (an array or paths of files) with their labels (class indices, int64 [N], or class names).

    `names` are the class names for the indices, if the data have them.
    """

    images: Any
    labels: Any
    names: tuple[str, ...] = ()

    def indices(self, class_names: Sequence[str]) -> np.ndarray:
        """The labels as indices of `class_names`, int64 [N]; raises InvalidInput for an unknown label."""
        import numpy as np

        if isinstance(self.labels, list):
            unknown = sorted(set(self.labels) - set(class_names))
            if unknown:
                raise InvalidInput(
                    f"the folder {unknown[0]!r} is not a class of the model, which has {_some(class_names)}"
                )
            return np.array([class_names.index(label) for label in self.labels], np.int64)
        labels = self.labels
        if labels.dtype.kind not in "iu" or labels.shape != (len(self.images),):
            raise InvalidInput(f"the labels must be {len(self.images)} whole numbers, one for each image")
        if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
            raise InvalidInput(
                f"the labels must be from 0 to {len(class_names) - 1}: the model has {len(class_names)} classes"
            )
        labels = labels.astype(np.int64)
        if self.names != tuple(class_names) and sorted(self.names) == sorted(class_names):  # in another order
            labels = np.array([class_names.index(name) for name in self.names], np.int64)[labels]
        return np.asarray(labels)


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate",
        description="Classify labelled images with a running server, or with a version on disk (--saved-model). Print "
        "the accuracy, the precision, recall and F1 of each class, the confusion matrix, the calibration error, and "
        "the latency.",
        examples=[
            "hangtag evaluate --target localhost:8500",
            "hangtag evaluate photos/test --saved-model models/photos/1 --plot errors.png",
        ],
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        default=DATASET,
        help="folder with one subfolder per class (or a test/ folder with them), .npz file with `images` and `labels`, "
        f"or {DATASET} for its test images (default)",
    )
    parser.add_argument(
        "--saved-model",
        type=argument_types.path,
        metavar="DIR",
        help="version folder, or base path (its newest version is used)",
    )
    connection.add_server(parser, timeout_help="deadline for each call (default %(default)g)")
    connection.add_model_options(parser)
    parser.add_argument("--plot", metavar="FILE", help="draw some images with their predictions, wrong ones first")
    parser.add_argument("--confusion-matrix", metavar="FILE", help="draw the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..evaluation import compare

    data = load(arguments.data)
    if arguments.saved_model is not None:
        evaluation, document = _on_disk(arguments.saved_model, data)
    else:
        probabilities, class_names, document = _by_server(arguments, data)
        evaluation = compare(probabilities, data.indices(class_names), class_names)
    document = {"images": len(data.images), "accuracy": evaluation.accuracy, **document, **evaluation.to_dict()}
    if arguments.json:
        print(json.dumps(document))
    else:
        print("\n".join(_lines(evaluation, document)))
    labels = data.indices(evaluation.class_names)
    drawn = [file for file in (arguments.plot, arguments.confusion_matrix) if file]
    if arguments.plot:
        _plot(arguments.plot, data, evaluation, np.asarray(labels))
    if arguments.confusion_matrix:
        from hangtag.plots import save

        from ..plots import confusion_matrix

        save(confusion_matrix(evaluation, arguments.language), arguments.confusion_matrix)
    done(
        f"evaluated on {len(data.images):,} images" + (f", drew {' and '.join(drawn)}" if drawn else ""),
        next_step="" if drawn else "--plot errors.png shows some of them",
    )
    return 0


def load(data: str) -> Labelled:
    """The labelled images that `data` names; raises InvalidInput."""
    import numpy as np

    from hangtag.fashion_mnist import load_test_images

    path = Path(data)
    if not data:
        raise InvalidInput(f"the path of the data is empty: give a folder, an .npz file, or {DATASET}")
    if data == DATASET and not path.exists():
        images = load_test_images()
        if images is None:
            from ..data.fashion_mnist import load_fashion_mnist

            dataset = load_fashion_mnist()
            images = np.asarray(dataset.test_images[:]), dataset.test_labels
        return Labelled(*images)
    if path.suffix.lower() == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                missing = [name for name in ("images", "labels") if name not in archive.files]
                if missing:
                    raise InvalidInput(f"{data} has no `{missing[0]}`: it must hold `images` and `labels`")
                names = archive["class_names"] if "class_names" in archive.files else np.array([], str)
                texts = names.tolist() if names.ndim == 1 and names.dtype.kind == "U" else []
                return Labelled(archive["images"], archive["labels"], tuple(texts))
        except InvalidInput:
            raise
        except Exception as error:  # numpy has no common class for what a broken file may raise
            raise InvalidInput(f"cannot read {data}: {getattr(error, 'strerror', None) or error}") from error
    if path.is_dir():
        return _from_folder(path)
    raise InvalidInput(f"{data} is neither a folder, nor an .npz file, nor {DATASET}")


def _from_folder(folder: Path) -> Labelled:
    from hangtag.cli import inputs

    from ..data.class_names import class_name, one_of

    top = one_of(folder, ("test", "testing", "test_set", "val", "valid", "validation")) or folder
    (source,) = inputs.find([str(top)])
    names = [Path(name) for name in source.names]  # type: ignore[union-attr]
    labels = [class_name(Path(name.relative_to(top).parts[0])) for name in names if name.parent != top]
    if len(labels) != len(names):
        raise InvalidInput(f"{top} has images outside its class folders: move each image into the folder of its class")
    return Labelled(names, labels)


def _by_server(arguments: argparse.Namespace, data: Labelled) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """The probabilities [N, C], the class names, and the model version and latencies for the output."""
    import numpy as np

    if not len(data.images):
        raise InvalidInput("there are no images to evaluate on")
    with connection.client(arguments) as client, Progress(len(data.images)) as progress:
        client.classify(data.images[:1])  # connecting and fetching class names must not be timed
        results, seconds = [], []
        for start in range(0, len(data.images), BATCH):
            started = time.perf_counter()
            results.append(client.classify(data.images[start : start + BATCH]))
            seconds.append(time.perf_counter() - started)
            progress.advance(len(results[-1]))
    p50, p95 = np.percentile(1e3 * np.array(seconds), [50, 95])
    figures = {
        "model_version": results[-1].model_version,
        "images_per_call": min(BATCH, len(data.images)),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
    }
    return np.concatenate([result.probabilities for result in results]), results[0].class_names, figures


def _on_disk(folder: Path, data: Labelled) -> tuple[Evaluation, dict[str, Any]]:
    """The evaluation of a version without a server, by TensorFlow."""
    from hangtag.cli.inspect import read_version
    from hangtag.contract import IMAGES, SERVING_DEFAULT

    from ..data.image_files import ImageFiles
    from ..evaluation import evaluate

    # TensorFlow warns that the Session API is deprecated, although TensorFlow Serving uses it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    version = read_version(folder)
    images = data.images
    if isinstance(images, list):
        signature = version.signatures.get(SERVING_DEFAULT)
        spec = None if signature is None else signature.inputs.get(IMAGES)
        if spec is None or spec.shape is None or None in spec.shape[1:]:
            raise InvalidInput(f"{version.title} does not take arrays of a fixed size: serve it, and use --target")
        images = ImageFiles(images, [size or 0 for size in spec.shape[1:]])
    names = version.class_names
    if names is None:
        raise InvalidInput(f"{version.title} has no class names: serve it, and use --target with --labels FILE")
    return evaluate(Path(version.title), images, data.indices(tuple(names))), {"model_version": version.version}


def _lines(evaluation: Evaluation, document: dict[str, Any]) -> Iterator[str]:
    yield evaluation.table()
    yield f"accuracy {evaluation.accuracy:.4f} of {document['images']:,} images, loss {evaluation.loss:.4f}"
    yield f"expected calibration error {evaluation.calibration_error:.4f}"
    if "p50_ms" in document:
        yield (
            f"latency of {document['images_per_call']} images: p50 {document['p50_ms']:.2f} ms, "
            f"p95 {document['p95_ms']:.2f} ms"
        )


def _plot(file: str, data: Labelled, evaluation: Evaluation, labels: np.ndarray) -> None:
    from hangtag import Classification
    from hangtag.plots import draw_predictions, read_image

    from ..plots import sample

    places = sample(evaluation, labels)
    images = [data.images[place] for place in places]
    shown = [read_image(image) if isinstance(image, Path) else image for image in images]
    result = Classification(evaluation.probabilities[places], tuple(evaluation.class_names))
    draw_predictions(shown, result, file, truth=labels[places].tolist())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
