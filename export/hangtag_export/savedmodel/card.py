"""The model card, and the other file in `assets.extra`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import hangtag
from hangtag import contract
from hangtag.fashion_mnist import translate
from hangtag.images.files import read_file
from hangtag.optional import require

from . import signatures, warmup

CARD = Path(contract.CARD)
"""The model card, relative to a version's folder."""

_LARGEST = 100_000_000  # bytes


def read(folder: Path) -> dict[str, Any]:
    """The model card of a version; empty if there is none or it cannot be read."""
    try:
        content = read_file(folder / CARD, _LARGEST)
        card = json.loads(content) if len(content) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def common(class_names: Sequence[str], image_shape: Sequence[int]) -> dict[str, Any]:
    """The fields of every model card."""
    tf = require("tensorflow", extra="export", what="exporting")
    keras = require("keras", extra="export", what="exporting")
    return {
        "class_names": list(class_names),
        "class_names_zh": list(translate(class_names, "zh")),
        "image_shape": list(image_shape),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hangtag": hangtag.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def of_existing_model(
    class_names: Sequence[str],
    *,
    source: Mapping[str, Any],
    image_shape: Sequence[int],
    pixels: str,
    scores: str,
    output: str,
) -> dict[str, Any]:
    """The card of a model that was trained elsewhere. `source` describes the original file."""
    return {
        **common(class_names, image_shape),
        "source": dict(source),
        "pixels": pixels,
        "scores": scores,
        "output": output,
    }


def write_beside(folder: Path, card: Mapping[str, Any], image: np.ndarray, model_name: str) -> None:
    """Write the card, and warmup records with `image`, uint8 [1, H, W] or [1, H, W, 3]."""
    inputs = signatures.inputs_of_all_signatures(image, len(card["class_names"]))
    with signatures.writing(folder):
        path = folder / CARD
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        warmup.write(folder, inputs, model_name)
