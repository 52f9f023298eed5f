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
from . import argument_types

_INTERRUPTED = "interrupted"  # the value of --resume without a file


def register(commands: Any) -> None:
    """Add the command to the command line."""
    export = commands.add_parser(
        "export",
        description="Train an image classifier on Fashion-MNIST or on a folder of images, measure it on the test "
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
        "--dataset", default=DATASET, metavar="NAME", help=f"{DATASET}, or a folder with one folder a class"
    )
    data.add_argument("--data-dir", metavar="DIR", help="where Fashion-MNIST's files are (default: found or fetched)")
    data.add_argument(
        "--image-size",
        type=argument_types.size,
        metavar="N[xM]",
        help=f"of a folder's images ({_defaults('image_shape', _size)})",
    )
    data.add_argument(
        "--color",
        action=argparse.BooleanOptionalAction,
        help="a folder's images are in colour, or grey (default: in colour, but grey for the dense architectures)",
    )
    data.add_argument(
        "--skip-bad", action="store_true", help="leave out a folder's files that cannot be read, instead of stopping"
    )

    train = export.add_argument_group("training")
    train.add_argument(
        "--architecture",
        metavar="NAME",
        choices=NAMES,
        help=f"one of {', '.join(NAMES)} (default dense; cnn for a folder of images)",
    )
    train.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help="what a pretrained architecture begins with: those of ImageNet (default), nothing, or a file",
    )
    train.add_argument(
        "--hidden",
        metavar="N[,N…]",
        type=argument_types.units,
        help=f"units of the dense layers ({_defaults('hidden', lambda units: ','.join(map(str, units)) or 'none')})",
    )
    train.add_argument("--epochs", type=argument_types.positive, metavar="N", help=_defaults("epochs"))
    train.add_argument("--batch-size", type=argument_types.positive, metavar="N", help=_defaults("batch_size"))
    train.add_argument("--learning-rate", type=argument_types.above_zero, metavar="X", help=_defaults("learning_rate"))
    train.add_argument("--seed", type=argument_types.seed, default=42, metavar="N", help="default %(default)s")
    train.add_argument(
        "--validation-split",
        type=argument_types.part,
        metavar="X",
        help="hold out this part of the training images, and use the epoch that is best on them "
        f"({_defaults('validation_split', lambda part: f'{part:.2g}')})",
    )
    train.add_argument(
        "--patience",
        type=argument_types.positive,
        metavar="N",
        help="end after N epochs without a better one on the held-out images "
        f"({_defaults('patience', lambda epochs: str(epochs or 'never'))})",
    )
    train.add_argument(
        "--calibrate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scale the scores so that they match the accuracy on the held-out images, if there are any (default)",
    )
    train.add_argument(
        "--stop-at-loss", type=argument_types.above_zero, metavar="X", help="end when the training loss is this"
    )
    train.add_argument(
        "--target-accuracy", type=argument_types.accuracy, metavar="X", help="end when the training accuracy is this"
    )
    train.add_argument(
        "--resume",
        nargs="?",
        const=_INTERRUPTED,
        metavar="FILE",
        help="continue the training that was interrupted in this base path or, with FILE, that of a Keras model",
    )
    argument_types.add_import(train)
    train.add_argument("--tensorboard", type=argument_types.path, metavar="DIR", help="write TensorBoard's logs there")

    gate = export.add_argument_group("gates")
    argument_types.add_gates(gate)

    out = export.add_argument_group("output")
    argument_types.add_output(out, name="fashion; for a folder of images the folder's name")
    out.add_argument(
        "--keras", type=argument_types.keras_file, metavar="FILE", help="also save the model as .keras or .h5"
    )
    out.add_argument(
        "--plots", type=argument_types.path, metavar="DIR", help="draw the tutorial's pictures there, with a CSV log"
    )
    out.add_argument("--language", choices=("en", "zh"), default="en", help="of the names in pictures (default en)")
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
        raise InvalidInput(f"the folder's name cannot be the model's ({error}): give --model-name NAME") from error


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
        values.setdefault(text(getattr(value, name)), []).append(architecture)
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
