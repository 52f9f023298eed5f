"""Converts the inputs of `predict` to the dtypes of a signature, if no value is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..images.input import plain
from ..model import Signature, TensorSpec
from ..protocol import dtypes
from ..protocol.dtypes import BFLOAT16, STRING, DataType
from .validation import fits


def fit_inputs(inputs: Mapping[str, Any], signature: Signature, name: str) -> dict[str, np.ndarray]:
    """Arrays with the dtypes and shapes that the signature takes; raises InvalidInput."""
    if not isinstance(inputs, Mapping):
        raise InvalidInput(f"inputs are of type {type(inputs).__name__}: give a dict of arrays by input name")
    arrays = {}
    for key, value in inputs.items():
        spec = signature.inputs.get(key)
        if spec is None:
            raise InvalidInput(f"signature {name!r} has no input {key!r}; it takes {', '.join(signature.inputs)}")
        arrays[key] = _fit(key, value, spec)
    missing = ", ".join(sorted(signature.inputs.keys() - arrays.keys() - signature.defaults))
    if missing:
        raise InvalidInput(f"signature {name!r} also needs {missing}")
    return arrays


def _fit(key: str, value: Any, spec: TensorSpec) -> np.ndarray:
    wanted = dtypes.BY_NAME.get(spec.dtype)
    if wanted is None:
        raise InvalidInput(f"input {key!r} is {spec.dtype}, which cannot be sent in a request")
    try:
        # numpy's own dtype for a list of strings would mix text with bytes and drop trailing zero bytes
        array = (
            plain(value) if isinstance(value, np.ndarray) else np.asarray(value, object if wanted is STRING else None)
        )
    except ValueError as error:
        raise InvalidInput(f"input {key!r} is not an array: {error}") from error
    if wanted is STRING:
        _check_text(key, array)
    cast = _cast(array, wanted)
    if cast is None:
        raise InvalidInput(f"input {key!r} takes {spec} but got {array.dtype}")
    if spec.shape is not None and not fits(cast.shape, spec.shape):
        raise InvalidInput(f"input {key!r} takes {spec} but got shape {list(array.shape)}")
    return cast


def _check_text(key: str, array: np.ndarray) -> None:
    for item in array.ravel().tolist():
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as error:
                raise InvalidInput(f"input {key!r} has a string that cannot be sent: {error}") from error


def _cast(array: np.ndarray, wanted: DataType) -> np.ndarray | None:
    """`array` in the wanted dtype, or None if its values do not fit."""
    if wanted is STRING:
        if array.dtype.kind == "O" and not all(isinstance(item, str | bytes) for item in array.ravel().tolist()):
            return None
        return array if array.dtype.kind in "OSU" else None
    if wanted is BFLOAT16:
        if array.dtype.name == "bfloat16":  # ml_dtypes'
            return array.view(BFLOAT16.numpy)
        return dtypes.to_bfloat16(array) if array.dtype.kind in "fiu" else None
    if array.dtype.kind not in "buifc":
        return None
    if not array.size or np.can_cast(array.dtype, wanted.numpy):
        return array.astype(wanted.numpy, copy=False)
    if array.dtype.kind not in "iuf" or wanted.numpy.kind not in "iuf":
        return None
    return dtypes.cast(array, wanted.numpy)
