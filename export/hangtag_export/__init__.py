"""Makes a SavedModel version for TensorFlow Serving, from labelled images or from a trained model.

    load_fashion_mnist, load_images     load labelled images
    train, evaluate                     train a model, and measure it
    publish                             publish a trained model as a version with Hangtag's signatures

The names are imported when they are first used, so that `import hangtag_export` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import DATASET as DATASET
    from .data.dataset import Dataset as Dataset
    from .data.fashion_mnist import load_fashion_mnist as load_fashion_mnist
    from .data.folder import load_images as load_images
    from .evaluation import Evaluation as Evaluation
    from .evaluation import evaluate as evaluate
    from .existing_model.pipeline import Published as Published
    from .existing_model.pipeline import publish as publish
    from .training.train import Training as Training
    from .training.train import train as train

_MODULES = {
    "DATASET": "data",
    "Dataset": "data.dataset",
    "Evaluation": "evaluation",
    "Published": "existing_model.pipeline",
    "Training": "training.train",
    "evaluate": "evaluation",
    "load_fashion_mnist": "data.fashion_mnist",
    "load_images": "data.folder",
    "publish": "existing_model.pipeline",
    "train": "training.train",
}
"""Each public name, with the module that defines it."""

__all__ = sorted([*_MODULES, "plots"])


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module(".plots", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
