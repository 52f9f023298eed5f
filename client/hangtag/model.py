"""What a server reports about its models: signatures, tensor specs and version states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class ModelSpec(NamedTuple):
    """Which servable a request is for: at most one of `version` and `version_label`; neither means the newest."""

    name: str
    version: int | None = None
    version_label: str | None = None
    signature: str = ""

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name} version {self.version}"
        if self.version_label is not None:
            return f"{self.name} label {self.version_label!r}"
        return self.name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: its name in the graph, TensorFlow dtype (``"DT_UINT8"``) and shape.

    None stands for an open dimension, or for a shape of unknown rank.

    >>> str(TensorSpec("serving_default_images:0", "DT_UINT8", (None, 28, 28)))
    'uint8 [?, 28, 28]'
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "unknown rank" if self.shape is None else str(["?" if d is None else d for d in self.shape])
        return f"{self.dtype.removeprefix('DT_').lower()} {shape}".replace("'", "")


@dataclass(frozen=True)
class Signature:
    """The named inputs and outputs of one function of the model.

    >>> image, score = TensorSpec("x", "DT_UINT8", (None, 28, 28)), TensorSpec("y", "DT_FLOAT", (None, 10))
    >>> list(Signature({"images": image}, {"probabilities": score}).outputs)
    ['probabilities']
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = ""
    defaults: frozenset[str] = frozenset()
    """The inputs that have a default value, so that a request may omit them."""

    @cached_property
    def values_per_row(self) -> int | None:
        """How many numbers all outputs have per input row; None if a dimension is open or an output has strings.

        >>> Signature({}, {"probabilities": TensorSpec("y", "DT_FLOAT", (None, 10))}).values_per_row
        10
        """
        total = 0
        for spec in self.outputs.values():
            if spec.shape is None or None in spec.shape[1:] or spec.dtype == "DT_STRING":
                return None
            total += prod(size or 1 for size in spec.shape[1:])
        return total


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """One loaded version of a model and its signatures by name.

    >>> model = ModelMetadata("fashion", 3, {"labels": Signature({}, {})})
    >>> model.version, "labels" in model.signatures
    (3, True)
    """

    name: str
    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version: `state` is START, LOADING, AVAILABLE, UNLOADING or END; `error_code` is "OK" or the failure's code.

    >>> VersionStatus(3, "AVAILABLE").error_code
    'OK'
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class Reply(NamedTuple):
    """The response to one Predict: arrays by output name, and the version that computed them (None over REST)."""

    outputs: dict[str, np.ndarray]
    version: int | None
