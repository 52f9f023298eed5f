"""The ten class names of Fashion-MNIST, in English and Chinese.

English names and their order: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms", arXiv:1708.07747, table 2, as the TensorFlow tutorial spells them.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import InvalidInput

_TABLE = (
    ("T-shirt/top", "T恤/上衣"),
    ("Trouser", "裤子"),
    ("Pullover", "套头衫"),
    ("Dress", "连衣裙"),
    ("Coat", "外套"),
    ("Sandal", "凉鞋"),
    ("Shirt", "衬衫"),
    ("Sneaker", "运动鞋"),
    ("Bag", "包"),
    ("Ankle boot", "短靴"),
)

CLASS_NAMES = tuple(english for english, _ in _TABLE)
"""The names in label order: ``CLASS_NAMES[9] == "Ankle boot"``."""

CLASS_NAMES_ZH = tuple(chinese for _, chinese in _TABLE)

LANGUAGES = ("en", "zh")


def check_language(language: str) -> str:
    """Return `language`, or raise InvalidInput if there are no names in it."""
    if language not in LANGUAGES:
        raise InvalidInput(f"language {language!r} is not known: choose one of {', '.join(LANGUAGES)}")
    return language


def translate(names: Iterable[str], language: str) -> tuple[str, ...]:
    """Names in `language` ("en" or "zh"). Names that are not Fashion-MNIST's stay as they are.

    >>> translate(["Ankle boot", "umbrella"], "zh")
    ('短靴', 'umbrella')
    """
    if check_language(language) == "en":
        return tuple(names)
    table = dict(_TABLE)
    return tuple(table.get(name, name) for name in names)
