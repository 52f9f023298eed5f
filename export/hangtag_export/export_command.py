"""The command `hangtag export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DATASET = "fashion-mnist"


def register(commands: Any) -> None:
    """Add the command to the command line."""
    export = commands.add_parser("export", help="train a classifier and publish it as a SavedModel version")
    export.add_argument("--dataset", choices=[DATASET], default=DATASET, help="what to train on (default %(default)s)")
    export.add_argument("--data-dir", metavar="DIR", help="where the data set's files are (default: found or fetched)")
    export.add_argument(
        "--architecture", choices=["dense", "dense-512", "logits"], default="dense", help="default %(default)s"
    )
    export.add_argument(
        "--hidden", metavar="N[,N…]", type=_units, help="units of the hidden layers, instead of its own"
    )
    export.add_argument("--epochs", type=_positive, default=10, metavar="N", help="default %(default)s")
    export.add_argument("--batch-size", type=_positive, default=32, metavar="N", help="default %(default)s")
    export.add_argument("--seed", type=int, default=42, metavar="N", help="default %(default)s")
    export.add_argument("--model-name", default="fashion", metavar="NAME", help="default %(default)s")
    export.add_argument("--base-path", type=Path, metavar="DIR", help="where versions go (default models/NAME)")
    export.add_argument("--keras", type=_keras_file, metavar="FILE", help="also save the model as .keras or .h5")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from .pipeline import ExportOptions, export
    from .training import TrainingOptions

    exported = export(
        ExportOptions(
            base_path=arguments.base_path or Path("models", arguments.model_name),
            architecture=arguments.architecture,
            hidden=arguments.hidden,
            training=TrainingOptions(arguments.epochs, arguments.batch_size, arguments.seed),
            data_dir=arguments.data_dir,
            keras_file=arguments.keras,
        ),
        say=lambda words: print(words, flush=True),
    )
    print(f"published {exported.folder}")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _units(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _keras_file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".keras", ".h5"):
        raise argparse.ArgumentTypeError(f"{text} must end in .keras or .h5")
    return path
