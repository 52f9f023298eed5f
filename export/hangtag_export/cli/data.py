"""The command `hangtag data`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hangtag.cli.terminal import done
from hangtag.errors import HangtagError, InvalidInput


def register(commands: Any) -> None:
    """Add the command to the command line."""
    data = commands.add_parser(
        "data",
        description="Check the files of Fashion-MNIST and print where they are. Files that are missing are downloaded. "
        "With --save, also write the test images and labels to one file, for `hangtag evaluate` or numpy.",
        examples=["hangtag data", "hangtag data --save test.npz"],
    )
    data.add_argument(
        "--data-dir", metavar="DIR", help="folder with the files (default: a known folder, else download)"
    )
    data.add_argument(
        "--save",
        type=_npz,
        metavar="FILE.npz",
        help="save the 10,000 test images here, as arrays images (uint8 [N, 28, 28]), labels (int64 [N]) and "
        "class_names (text [10])",
    )
    data.set_defaults(run=_data)


def _npz(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".npz":
        raise argparse.ArgumentTypeError(f"{text} must end in .npz")
    return path


def _data(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..data.fashion_mnist import load_fashion_mnist

    dataset = load_fashion_mnist(arguments.data_dir, say=lambda line: print(line, flush=True))
    print(f"Fashion-MNIST: {len(dataset.train_labels):,} training and {len(dataset.test_labels):,} test images")
    print(dataset.origin)
    if arguments.save is None:
        done("the data is ready", next_step="hangtag export")
        return 0
    partial = arguments.save.with_name(f".{arguments.save.name}.partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                images=dataset.test_images[:],
                labels=dataset.test_labels,
                class_names=np.array(dataset.class_names),
            )
        partial.replace(arguments.save)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInput(f"cannot write {arguments.save}: there is no folder {arguments.save.parent}") from error
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HangtagError(f"cannot write {arguments.save}: {error.strerror}") from error
    print(f"saved {arguments.save}")
    done("saved the test images", next_step=f"hangtag evaluate {arguments.save}")
    return 0
