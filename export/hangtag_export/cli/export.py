"""The command `hangtag export`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from os.path import realpath
from pathlib import Path
from typing import Any

from hangtag.cli.terminal import done
from hangtag.errors import InvalidInput

from ..data import DATASET
from ..training.architectures import CNN_FOR_PHOTOS, NAMES, recipe
from ..training.transfer import BACKBONES
from . import argument_types

_INTERRUPTED = "interrupted"  # the value of --resume without a file


def register(commands: Any) -> None:
    """Add the command to the command line."""
    export = commands.add_parser(
        "export",
        description="Train an image classifier on Fashion-MNIST or on a folder of images, evaluate it on the test "
        "images, and publish it as the next SavedModel version, with signatures for pixels, files and class names.",
        examples=[
            "hangtag export --architecture cnn --min-accuracy 0.9",
            "hangtag export --dataset photos --keep 3 --config none",
            "hangtag export --dataset photos --architecture mobilenet-v3-small",
            "hangtag export --dataset photos --resume",
        ],
    )
    data = export.add_argument_group("data")
    data.add_argument(
        "--dataset",
        default=DATASET,
        metavar="NAME",
        help=f"{DATASET} (default), or a folder with one subfolder per class",
    )
    data.add_argument(
        "--data-dir", metavar="DIR", help="folder with the Fashion-MNIST files (default: a known folder, else download)"
    )
    data.add_argument(
        "--image-size",
        type=argument_types.size,
        metavar="N[xM]",
        help=f"height x width to which a folder's images are resized ({_defaults('image_shape', _size)})",
    )
    data.add_argument(
        "--color",
        action=argparse.BooleanOptionalAction,
        help="read a folder's images in colour or in grey (default: colour; dense architectures: grey)",
    )
    data.add_argument(
        "--skip-bad", action="store_true", help="skip files of a folder that cannot be read, instead of stopping"
    )

    train = export.add_argument_group("training")
    train.add_argument(
        "--architecture",
        metavar="NAME",
        choices=NAMES,
        help=f"one of {', '.join(NAMES)}; the last three are pretrained (default dense; for a folder of images cnn)",
    )
    train.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help="initial weights of a pretrained architecture: ImageNet's (default), none (random), or a file",
    )
    train.add_argument(
        "--hidden",
        metavar="N[,N…]",
        type=argument_types.units,
        help="units of each hidden dense layer "
        f"({_defaults('hidden', lambda units: ','.join(map(str, units)) or 'none')})",
    )
    train.add_argument(
        "--epochs", type=argument_types.positive, metavar="N", help=f"number of epochs ({_defaults('epochs')})"
    )
    train.add_argument(
        "--batch-size", type=argument_types.positive, metavar="N", help=f"images per batch ({_defaults('batch_size')})"
    )
    train.add_argument(
        "--learning-rate",
        type=argument_types.above_zero,
        metavar="X",
        help=f"learning rate, at its peak where it varies ({_defaults('learning_rate')})",
    )
    train.add_argument(
        "--seed", type=argument_types.seed, default=42, metavar="N", help="random seed (default %(default)s)"
    )
    train.add_argument(
        "--validation-split",
        type=argument_types.part,
        metavar="X",
        help="share of the training images to hold out for validation; the epoch that is best on them is published "
        f"({_defaults('validation_split', lambda part: f'{part:.2g}')})",
    )
    train.add_argument(
        "--patience",
        type=argument_types.positive,
        metavar="N",
        help="stop after N epochs without an improvement on the validation images "
        f"({_defaults('patience', lambda epochs: str(epochs or 'never'))})",
    )
    train.add_argument(
        "--calibrate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scale the scores so that they match the accuracy on the validation images (default, if there are any)",
    )
    train.add_argument(
        "--stop-at-loss", type=argument_types.above_zero, metavar="X", help="stop when the training loss is X or less"
    )
    train.add_argument(
        "--target-accuracy",
        type=argument_types.accuracy,
        metavar="X",
        help="stop when the training accuracy, from 0 to 1, is X or more",
    )
    train.add_argument(
        "--resume",
        nargs="?",
        const=_INTERRUPTED,
        metavar="FILE",
        help="continue the training that was interrupted in this base path; with FILE, train a Keras model further",
    )
    argument_types.add_import(train)
    train.add_argument("--tensorboard", type=argument_types.path, metavar="DIR", help="write TensorBoard logs here")

    gate = export.add_argument_group("gates")
    argument_types.add_gates(gate)

    out = export.add_argument_group("output")
    argument_types.add_output(out, name="fashion; for a folder of images, the folder's name")
    out.add_argument(
        "--keras",
        type=argument_types.keras_file,
        metavar="FILE",
        help="also save the Keras model to this .keras or .h5 file",
    )
    out.add_argument(
        "--plots",
        type=argument_types.path,
        metavar="DIR",
        help="save plots of the training, predictions and confusion matrix here, with a CSV log",
    )
    out.add_argument(
        "--language", choices=("en", "zh"), default="en", help="language of the text in plots (default en)"
    )
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    _check(arguments)
    from ..existing_model.loading import import_modules
    from ..pipeline import ExportOptions, export
    from ..training.options import TrainingOptions

    argument_types.silence_tensorflow()
    import_modules(arguments.imports)
    architecture = _architecture(arguments)
    model_name = _model_name(arguments)
    base_path = arguments.base_path or Path("models", model_name)
    exported = export(
        ExportOptions(
            base_path=base_path,
            model_name=model_name,
            dataset=arguments.dataset,
            data_dir=arguments.data_dir,
            image_shape=_image_shape(arguments, architecture),
            skip_bad=arguments.skip_bad,
            training=TrainingOptions(
                architecture=architecture,
                hidden=arguments.hidden,
                weights=arguments.weights,
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                seed=arguments.seed,
                learning_rate=arguments.learning_rate,
                validation_split=arguments.validation_split,
                patience=arguments.patience,
                stop_at_loss=arguments.stop_at_loss,
                target_accuracy=arguments.target_accuracy,
                calibrate=arguments.calibrate,
                tensorboard=arguments.tensorboard,
                log=None if arguments.plots is None else arguments.plots / "training.csv",
            ),
            resume=None if arguments.resume in (None, _INTERRUPTED) else Path(arguments.resume),
            continue_interrupted=arguments.resume == _INTERRUPTED,
            keras_file=arguments.keras,
            plots=arguments.plots,
            language=arguments.language,
            **argument_types.gates_and_keep(arguments),
        ),
        say=lambda line: print(line, flush=True),
    )
    print(f"published {exported.folder}")
    done(
        f"version {exported.version} of {model_name} is on disk",
        next_step=argument_types.serve_command(base_path, model_name),
    )
    return 0


def _model_name(arguments: argparse.Namespace) -> str:
    """The given name, or the folder's name, so that its model does not replace another one."""
    if arguments.model_name is not None:
        return str(arguments.model_name)
    if arguments.dataset == DATASET:
        return "fashion"
    name = Path(realpath(arguments.dataset)).name
    try:
        return argument_types.model_name(name)
    except argparse.ArgumentTypeError as error:
        raise InvalidInput(f"the folder's name is not a valid model name ({error}): give --model-name NAME") from error


def _architecture(arguments: argparse.Namespace) -> str:
    if arguments.architecture is not None:
        return str(arguments.architecture)
    return "dense" if arguments.dataset == DATASET or arguments.hidden else "cnn"


def _image_shape(arguments: argparse.Namespace, architecture: str) -> tuple[int, ...]:
    usual = recipe(architecture, photos=True).image_shape
    size = arguments.image_size or usual[:2]
    in_color = len(usual) == 3 if arguments.color is None else arguments.color
    return (*size, 3) if in_color else tuple(size)


def _defaults(name: str, text: Callable[[Any], str] = str) -> str:
    """The values of one field in all recipes, for a help text."""
    values: dict[str, list[str]] = {}
    for architecture in NAMES:
        value = recipe(architecture, photos=name == "image_shape")
        known_as = "pretrained" if architecture in BACKBONES else architecture
        same = values.setdefault(text(getattr(value, name)), [])
        same += [known_as] * (known_as not in same)
    if name != "image_shape":
        values.setdefault(text(getattr(CNN_FOR_PHOTOS, name)), []).append("cnn for a folder")
    usual, *others = values.items()
    return "; ".join([f"default {usual[0]}", *(f"{', '.join(names)}: {value}" for value, names in others)])


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _check(arguments: argparse.Namespace) -> None:
    """Raise InvalidInput for an argument that would have no effect, before anything is loaded."""
    if arguments.dataset == DATASET:
        for flag, given in (
            ("--image-size", arguments.image_size is not None),
            ("--color" if arguments.color else "--no-color", arguments.color is not None),
            ("--skip-bad", arguments.skip_bad),
        ):
            if given:
                raise InvalidInput(f"{flag} is for a folder of images (--dataset DIR): Fashion-MNIST is 28x28 and grey")
    elif arguments.data_dir is not None:
        raise InvalidInput("--data-dir is for Fashion-MNIST: a folder of images is given as --dataset DIR alone")
    if arguments.resume not in (None, _INTERRUPTED) and Path(arguments.resume).suffix not in (".keras", ".h5"):
        raise InvalidInput(f"--resume {arguments.resume}: the file must end in .keras or .h5")
    argument_types.check_keep(arguments)
