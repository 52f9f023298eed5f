"""The command `hangtag export`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput

from .. import DATASET
from ..training.architectures import NAMES, RECIPES
from . import argument_types


def register(commands: Any) -> None:
    """Add the command to the command line."""
    export = commands.add_parser("export", help="train a classifier and publish it as a SavedModel version")
    data = export.add_argument_group("data")
    data.add_argument(
        "--dataset", default=DATASET, metavar="NAME", help=f"{DATASET}, or a folder with one folder a class"
    )
    data.add_argument("--data-dir", metavar="DIR", help="where Fashion-MNIST's files are (default: found or fetched)")
    data.add_argument(
        "--image-size", type=argument_types.size, metavar="N[xM]", help="a folder's images (default 28x28)"
    )
    data.add_argument("--color", action="store_true", help="a folder's images are in colour, not grey")

    train = export.add_argument_group("training")
    train.add_argument("--architecture", choices=NAMES, default="dense", help="default %(default)s")
    train.add_argument(
        "--hidden",
        metavar="N[,N…]",
        type=argument_types.units,
        help="units of the dense layers, instead of the architecture's",
    )
    train.add_argument("--epochs", type=argument_types.positive, metavar="N", help="default 10")
    train.add_argument("--batch-size", type=argument_types.positive, metavar="N", help="default 32; cnn: 128")
    train.add_argument(
        "--learning-rate", type=argument_types.above_zero, metavar="X", help="default 0.001; cnn: 0.003 at its peak"
    )
    train.add_argument("--seed", type=argument_types.seed, default=42, metavar="N", help="default %(default)s")
    train.add_argument(
        "--validation-split",
        type=argument_types.part,
        metavar="X",
        help="hold out this part of the training images, and keep the epoch that does best on them (cnn: 1/12)",
    )
    train.add_argument(
        "--stop-at-loss", type=argument_types.above_zero, metavar="X", help="end when the training loss is this"
    )
    train.add_argument(
        "--target-accuracy", type=argument_types.accuracy, metavar="X", help="end when the training accuracy is this"
    )
    train.add_argument(
        "--resume", type=argument_types.keras_file, metavar="FILE", help="go on with a saved .keras or .h5 model"
    )
    train.add_argument("--tensorboard", type=Path, metavar="DIR", help="write TensorBoard's logs there")

    gate = export.add_argument_group("gates")
    gate.add_argument(
        "--min-accuracy", type=argument_types.accuracy, metavar="X", help="publish only with this test accuracy or more"
    )
    gate.add_argument(
        "--no-worse-than-current",
        action="store_true",
        help="publish only if the newest version gets no more of the test images right",
    )

    out = export.add_argument_group("output")
    out.add_argument(
        "--model-name", type=argument_types.model_name, default="fashion", metavar="NAME", help="default %(default)s"
    )
    out.add_argument("--base-path", type=Path, metavar="DIR", help="where versions go (default models/NAME)")
    out.add_argument(
        "--keras", type=argument_types.keras_file, metavar="FILE", help="also save the model as .keras or .h5"
    )
    out.add_argument("--plots", type=Path, metavar="DIR", help="draw the tutorial's pictures there, with a CSV log")
    out.add_argument("--language", choices=("en", "zh"), default="en", help="of the names in pictures (default en)")
    out.add_argument(
        "--keep", type=argument_types.positive, metavar="N", help="afterwards, keep the N newest versions only"
    )
    out.add_argument(
        "--config", type=Path, metavar="FILE", help=f"whose versions --keep leaves alone, or `{argument_types.NONE}`"
    )
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    _check(arguments)
    from ..pipeline import ExportOptions, export
    from ..training.fit import TrainingOptions

    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras recommends .keras whenever it meets an .h5
    # TensorFlow calls the Session API deprecated; it is what TensorFlow Serving loads with.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    recipe = RECIPES[arguments.architecture]
    split = recipe.validation_split if arguments.validation_split is None else arguments.validation_split
    image_size = arguments.image_size or (28, 28)
    exported = export(
        ExportOptions(
            base_path=arguments.base_path or Path("models", arguments.model_name),
            model_name=arguments.model_name,
            dataset=arguments.dataset,
            data_dir=arguments.data_dir,
            image_shape=(*image_size, 3) if arguments.color else image_size,
            architecture=arguments.architecture,
            hidden=arguments.hidden,
            training=TrainingOptions(
                epochs=arguments.epochs or recipe.epochs,
                batch_size=arguments.batch_size or recipe.batch_size,
                seed=arguments.seed,
                learning_rate=arguments.learning_rate,
                validation_split=split,
                stop_at_loss=arguments.stop_at_loss,
                target_accuracy=arguments.target_accuracy,
                tensorboard=arguments.tensorboard,
                log=None if arguments.plots is None else arguments.plots / "training.csv",
            ),
            resume=arguments.resume,
            keras_file=arguments.keras,
            plots=arguments.plots,
            language=arguments.language,
            min_accuracy=arguments.min_accuracy,
            no_worse_than_current=arguments.no_worse_than_current,
            keep=arguments.keep,
            config=None if arguments.keep is None else argument_types.config_for_keep(arguments.config),
        ),
        say=lambda words: print(words, flush=True),
    )
    print(f"published {exported.folder}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise InvalidInput for what would have no effect, or one that was not meant, before anything is loaded."""
    if arguments.dataset == DATASET:
        for flag, given in (("--image-size", arguments.image_size), ("--color", arguments.color)):
            if given:
                raise InvalidInput(f"{flag} is for a folder of images (--dataset DIR): Fashion-MNIST is 28x28 and grey")
    elif arguments.data_dir is not None:
        raise InvalidInput("--data-dir is for Fashion-MNIST: a folder of images is given as --dataset DIR alone")
    if arguments.config is not None and arguments.keep is None:
        raise InvalidInput("--config is for --keep N: without it no version is removed")
