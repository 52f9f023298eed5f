"""The command `hangtag publish`."""

from __future__ import annotations

import argparse
import re
from os.path import realpath
from pathlib import Path
from typing import Any

from hangtag.cli.terminal import done
from hangtag.contract import RANGES, SCORES

from . import argument_types


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "publish",
        description="Publish a model that is already trained: add Hangtag's six signatures, compare their outputs with "
        "the model's own, and write the next version. Nothing is trained. Loading a model can run code that is stored "
        "in it: publish only files that you trust.",
        examples=[
            "hangtag publish cats.keras --class-names cat,dog --pixels 0..1",
            "hangtag publish saved/ --class-names names.txt --pixels -1..1 --scores logits",
        ],
    )
    parser._negative_number_matcher = re.compile(r"-\d")  # "-1..1" is a value, not a flag
    parser.add_argument(
        "model",
        type=argument_types.path,
        metavar="MODEL",
        help="a .keras or .h5 file (of Keras 2 or 3), or a SavedModel folder",
    )
    parser.add_argument(
        "--class-names",
        required=True,
        metavar="NAMES",
        help="class names in label order: NAME,NAME,…, a text file (one per line), a JSON file, or a folder with one "
        "subfolder per class; for a single sigmoid output, the name of class 0, then of class 1",
    )
    about = parser.add_argument_group("description of the model, where Hangtag cannot derive it")
    about.add_argument(
        "--pixels",
        choices=RANGES,
        help="pixel range that the model expects; imagenet: RGB minus the ImageNet mean, divided by the standard "
        "deviation, as in PyTorch; caffe: BGR minus the ImageNet mean, as in Keras's ResNet50 and VGG",
    )
    about.add_argument(
        "--scores",
        choices=SCORES,
        help="meaning of the model's scores; sigmoid: independent probabilities (multi-label)",
    )
    about.add_argument("--output", metavar="NAME", help="output that has the scores, if the model has several outputs")
    about.add_argument(
        "--signature",
        metavar="NAME",
        help="signature of a SavedModel to use (default: serving_default, or the only one)",
    )
    about.add_argument(
        "--image-size",
        type=argument_types.size,
        metavar="N[xM]",
        help="height x width of the images, if the model takes any size",
    )
    argument_types.add_import(about)
    gate = parser.add_argument_group("gates")
    gate.add_argument("--dataset", metavar="NAME", help="evaluate the model on test images: fashion-mnist, or a folder")
    argument_types.add_gates(gate)
    out = parser.add_argument_group("output")
    argument_types.add_output(out, name="the name of the base path, else of the file")
    parser.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    argument_types.check_keep(arguments)
    argument_types.silence_tensorflow()
    from ..existing_model.pipeline import publish

    base_path = arguments.base_path
    unnamed = Path(realpath(arguments.model)).stem if base_path is None else Path(realpath(base_path)).name
    name = arguments.model_name or unnamed
    published = publish(
        arguments.model,
        arguments.class_names,
        base_path or Path("models", name),
        model_name=name,
        pixels=arguments.pixels,
        scores=arguments.scores,
        output=arguments.output,
        signature=arguments.signature,
        image_size=arguments.image_size,
        imports=arguments.imports,
        dataset=arguments.dataset,
        **argument_types.gates_and_keep(arguments),
        say=lambda line: print(line, flush=True),
    )
    print(f"published {published.folder}")
    done(
        f"version {published.version} of {name} is on disk",
        next_step=argument_types.serve_command(published.folder.parent, name),
    )
    return 0
