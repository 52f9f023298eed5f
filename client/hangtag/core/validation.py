"""Check images against the model's signatures, before a byte is sent: which signature, dtype, shape and output.

TensorFlow Serving itself compares neither shape nor dtype with the signature, and a model that starts with Flatten
silently takes 14 x 56 for 28 x 28; so this is the only check there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..contract import ENCODED_IMAGES, NORMALIZED_IMAGES, SERVING_DEFAULT
from ..errors import InvalidInput, UnknownSignature
from ..model import ModelMetadata, Signature, TensorSpec
from ..protocol import dtypes
from .image_input import Encoded, Pixels, decode
from .scores import score_output


class Plan(NamedTuple):
    """What to send: `array` whole, to be cut into chunks of `rows` (0: not decided yet); which output holds the scores.

    `version` is the version of the model whose signature this is. `unit` is how float pixels were understood: True
    0..1, False 0..255, None for images that were no floats.
    """

    signature_name: str
    signature: Signature
    input_name: str
    array: np.ndarray
    output_name: str
    rows: int
    version: int
    unit: bool | None = None

    def suits(self, model: ModelMetadata) -> bool:
        """Whether `model`, perhaps another version than this was made for, takes and gives the same."""
        if model.version == self.version:
            return True
        other = model.signatures.get(self.signature_name or SERVING_DEFAULT)
        return other is not None and _interface(other) == _interface(self.signature)


def plan_classify(
    batch: Pixels | Encoded,
    model: ModelMetadata,
    signature_name: str,
    unit: bool | None = None,
) -> Plan:
    """Choose the signature for `batch` and check it; raises InvalidInput or UnknownSignature.

    `unit` is how an earlier batch of the same stream was understood; None when there was none.
    """
    if isinstance(batch, Encoded):
        if ENCODED_IMAGES in model.signatures:
            signature_name, array, unit = ENCODED_IMAGES, batch.as_array(), None
        else:
            signature = find_signature(model, signature_name)
            row = signature.inputs[only_input(signature, signature_name)].shape
            batch = Pixels(decode(batch.files, row[1:] if row else None))
    if isinstance(batch, Pixels):
        signature_name, array, unit = _pixels(batch, model, signature_name, unit)
    signature = find_signature(model, signature_name)
    output_name = score_output(signature, signature_name)
    input_name = only_input(signature, signature_name)
    rows = fixed_rows(signature.inputs[input_name])
    if rows and len(array) % rows:
        raise InvalidInput(f"{model.name} takes {rows} images at a time, and {len(array)} are not whole such requests")
    return Plan(signature_name, signature, input_name, array, output_name, rows or 0, model.version, unit)


def find_signature(model: ModelMetadata, name: str) -> Signature:
    """The signature of that name."""
    name = name or SERVING_DEFAULT
    signature = model.signatures.get(name)
    if signature is None:
        known = ", ".join(sorted(n for n in model.signatures if not n.startswith("__"))) or "none"
        hint = " (PNG and JPEG files are decoded by the model)" if name == ENCODED_IMAGES else ""
        raise UnknownSignature(
            f"{model.name} version {model.version} has no signature {name!r}{hint}; it has {known}",
            code="FAILED_PRECONDITION",
        )
    return signature


def _interface(signature: Signature) -> tuple[object, object]:
    """What callers see of a signature; the names inside the graph are not of it."""
    return {name: (spec.dtype, spec.shape) for name, spec in signature.inputs.items()}, signature.outputs.keys()


def only_input(signature: Signature, name: str) -> str:
    """The name of the single input."""
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"signature {name!r} takes {len(signature.inputs)} inputs ({', '.join(signature.inputs)}); use predict()"
        )
    return next(iter(signature.inputs))


def fixed_rows(spec: TensorSpec) -> int | None:
    """How many images a request must have; None where the batch dimension is open, as it mostly is."""
    return spec.shape[0] if spec.shape else None


# ---- shape, dtype, range


def _pixels(
    batch: Pixels, model: ModelMetadata, signature_name: str, unit: bool | None
) -> tuple[str, np.ndarray, bool | None]:
    """Signature, array, and how float pixels were understood."""
    signature = find_signature(model, signature_name)
    spec = signature.inputs[only_input(signature, signature_name)]
    if spec.dtype == "DT_STRING":
        also = (
            ": give PNG or JPEG files" if signature_name == ENCODED_IMAGES else ", which are no images; use predict()"
        )
        raise InvalidInput(f"signature {signature_name!r} takes {spec}{also}")
    array = _with_batch_dimension(batch.data, spec, model.name)
    if spec.dtype != "DT_UINT8":
        return signature_name, _as_float(array, spec, signature_name), None
    if array.dtype == np.uint8:
        return signature_name, array, None
    takes_unit = NORMALIZED_IMAGES in model.signatures
    or_floats = " or floats 0..1" if takes_unit else ""
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"images of dtype {array.dtype}: give uint8 0..255{or_floats}")
    if not array.size:
        return signature_name, array.astype(np.uint8), None
    low, high = array.min(), array.max()
    if (
        array.dtype.kind == "f"
        and unit is not False
        and low >= 0
        and high <= 1
        and NORMALIZED_IMAGES in model.signatures
    ):
        return NORMALIZED_IMAGES, array.astype(np.float32), True
    if array.dtype.kind == "f" and unit:
        raise InvalidInput(
            f"pixels run from {low:g} to {high:g}, and the stream began with floats 0..1: keep to one kind"
        )
    if not (low >= 0 and high <= 255):  # NaN fails here too
        raise InvalidInput(f"pixels run from {low:g} to {high:g}: give uint8 0..255{or_floats}")
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        began = ", as the stream began" if unit is False else ""
        raise InvalidInput(
            f"float pixels run to {high:g} and are not whole: give whole numbers 0..255{began}"
            + ("" if began else or_floats)
        )
    return signature_name, array.astype(np.uint8), False if array.dtype.kind == "f" else None


def _as_float(array: np.ndarray, spec: TensorSpec, signature_name: str) -> np.ndarray:
    """Images for a model of float inputs: only the caller knows the range it was trained on."""
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.numpy.kind != "f":
        raise InvalidInput(f"signature {signature_name!r} takes {spec}, which are no images; use predict()")
    if array.dtype.kind != "f" and array.size:
        raise InvalidInput(
            f"signature {signature_name!r} takes {spec} and the images are {array.dtype}: "
            "scale them as in training, for instance images / 255.0"
        )
    return array.astype(dtype.numpy, copy=False)


def _with_batch_dimension(data: np.ndarray | Sequence[np.ndarray], spec: TensorSpec, model: str) -> np.ndarray:
    """`data` as [N, …] of the shape that the signature takes; one image gets its batch dimension."""
    if spec.shape is None:
        return data if isinstance(data, np.ndarray) else _stack(data, None, model)
    row = spec.shape[1:]
    if not isinstance(data, np.ndarray) or data.shape == (0,):  # the latter is an empty list
        return _stack(list(data), row, model)
    for array in (data, data[..., 0]) if data.ndim and data.shape[-1] == 1 else (data,):
        if _fits(array.shape[1:], row) and array.ndim:
            return array
        if _fits(array.shape, row):
            return array[np.newaxis]
    raise InvalidInput(f"images of shape {data.shape}: {model} takes {_sizes(('N', *row))}, or one image {_sizes(row)}")


def _stack(data: Sequence[np.ndarray], row: tuple[int | None, ...] | None, model: str) -> np.ndarray:
    images = [image[..., 0] if row and image.ndim == len(row) + 1 and image.shape[-1] == 1 else image for image in data]
    for index, image in enumerate(images):
        if row is not None and not _fits(image.shape, row):
            raise InvalidInput(f"image {index} has shape {image.shape}: {model} takes {_sizes(row)}")
        if image.shape != images[0].shape:
            raise InvalidInput(f"image {index} has shape {image.shape} and image 0 has {images[0].shape}")
    return np.stack(images) if images else np.empty((0, *(d or 1 for d in row or ())), np.uint8)


def _fits(shape: tuple[int, ...], row: tuple[int | None, ...]) -> bool:
    return len(shape) == len(row) and all(size in (None, have) for have, size in zip(shape, row, strict=True))


def _sizes(sizes: tuple[object, ...]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in sizes)}]"
