"""What the server says of its models: signatures, tensor specs and version states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """Name in the graph, TensorFlow dtype (``"DT_UINT8"``) and shape; None is an open dimension or an open rank."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "unknown rank" if self.shape is None else str(["?" if d is None else d for d in self.shape])
        return f"{self.dtype.removeprefix('DT_').lower()} {shape}".replace("'", "")


@dataclass(frozen=True, slots=True)
class Signature:
    """The named inputs and outputs of one function of the model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = ""


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """One loaded version of a model and its signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version: `state` is START, LOADING, AVAILABLE, UNLOADING or END; `error_code` is "OK" or why it failed."""

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class Reply(NamedTuple):
    """The answer to one Predict: arrays by output name, and the version that computed them (None where unsaid)."""

    outputs: dict[str, np.ndarray]
    version: int | None
