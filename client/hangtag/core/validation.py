"""Checks images against the model's signatures before anything is sent: signature, dtype, shape and output.

TensorFlow Serving compares neither shape nor dtype with the signature, and a model that starts with Flatten silently
accepts 14 x 56 for 28 x 28. So this is the only check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from ..contract import CLASSIFY, ENCODED_IMAGES, NORMALIZED_IMAGES, RANGES, SERVING_DEFAULT
from ..errors import InvalidInput, UnknownSignature
from ..images.input import Encoded, Pixels
from ..images.pillow import decode
from ..images.pixels import arranged, layout_of, scaled
from ..model import ModelMetadata, Signature, TensorSpec
from ..protocol import dtypes
from .scores import score_output

_EXAMPLES = ("tensorflow/serving/classify", "tensorflow/serving/regress")  # methods whose strings are tf.Examples


class Plan(NamedTuple):
    """How a batch is sent: the signature and its input, all images in `array`, and the output with the scores.

    `array` is sent in chunks of `rows` images (0: not decided yet). `version` is the model version of the signature.
    `unit` is the range of float pixels: True for 0..1, False for 0..255, None if the images are not floats.
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
        """Whether the plan is right for `model`: the same version, or one with the same inputs and outputs."""
        if model.version == self.version:
            return True
        other = model.signatures.get(self.signature_name or SERVING_DEFAULT)
        return other is not None and _interface(other) == _interface(self.signature)


class MixedShapes(InvalidInput):
    """The model takes images of any size, and these differ in shape, so they cannot share a request."""

    def __init__(self, message: str, images: list[np.ndarray]) -> None:
        super().__init__(message)
        self.unlike = images


def plan_classify(
    batch: Pixels | Encoded,
    model: ModelMetadata,
    signature_name: str,
    unit: bool | None = None,
    *,
    pixels: str | None = None,
    output: str | None = None,
    binary: bool = False,
) -> Plan:
    """Choose the signature for `batch` and check the batch; raises InvalidInput or UnknownSignature.

    `unit` is the `Plan.unit` of an earlier batch of the same stream, if any. `pixels` and `output` are the caller's
    options; `binary` says that the caller names two classes.
    """
    if isinstance(batch, Encoded):
        takes_files = _signature_for_files(model, signature_name)
        if takes_files is not None:
            signature_name, array, unit = takes_files, batch.as_array(), None
        else:
            signature = find_signature(model, signature_name)
            row = signature.inputs[only_input(signature, signature_name)].shape
            batch = Pixels(decode(batch.files, layout_of(row[1:] if row else None)))
    if isinstance(batch, Pixels):
        signature_name, array, unit = _pixels(batch, model, signature_name, unit, pixels)
    signature = find_signature(model, signature_name)
    output_name = score_output(signature, signature_name, output, binary=binary)
    input_name = only_input(signature, signature_name)
    rows = fixed_rows(signature.inputs[input_name])
    if rows and len(array) % rows:
        raise InvalidInput(f"{model.name} takes {rows} images at a time, and {len(array)} is not a multiple of that")
    return Plan(signature_name, signature, input_name, array, output_name, rows or 0, model.version, unit)


def _signature_for_files(model: ModelMetadata, name: str) -> str | None:
    """The signature that takes image files: `name` if its input is a string, else `encoded_images`, else None."""
    signature = find_signature(model, name)
    required = _required(signature)
    takes_strings = len(required) == 1 and signature.inputs[required[0]].dtype == "DT_STRING"
    if takes_strings and signature.method_name not in _EXAMPLES and name != CLASSIFY:
        return name
    return ENCODED_IMAGES if ENCODED_IMAGES in model.signatures else None


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
    """Inputs and outputs as callers see them, without the names of tensors in the graph."""
    return {name: (spec.dtype, spec.shape) for name, spec in signature.inputs.items()}, signature.outputs.keys()


def only_input(signature: Signature, name: str) -> str:
    """The name of the input that a request must have."""
    required = _required(signature)
    if len(required) != 1:
        raise InvalidInput(
            f"signature {name!r} takes {len(signature.inputs)} inputs ({', '.join(signature.inputs)}); use predict()"
        )
    return required[0]


def _required(signature: Signature) -> list[str]:
    """The inputs without a default; if there is only one input, that one."""
    if len(signature.inputs) == 1:
        return list(signature.inputs)
    return [name for name in signature.inputs if name not in signature.defaults]


def fixed_rows(spec: TensorSpec) -> int | None:
    """How many images a request must have; None if the batch dimension is open, as it usually is."""
    return spec.shape[0] if spec.shape else None


# ---- shape, dtype, range


def _pixels(
    batch: Pixels, model: ModelMetadata, signature_name: str, unit: bool | None, pixels: str | None
) -> tuple[str, np.ndarray, bool | None]:
    """The signature, the array to send, and the `unit` of a Plan."""
    signature = find_signature(model, signature_name)
    spec = signature.inputs[only_input(signature, signature_name)]
    if spec.dtype == "DT_STRING":
        also = ": give PNG or JPEG files"
        if signature_name != ENCODED_IMAGES:
            also = ", which are no images: give PNG or JPEG files if it decodes such, or use predict()"
        raise InvalidInput(f"signature {signature_name!r} takes {spec}{also}")
    array = _with_batch_dimension(batch.data, spec, model.name)
    if spec.dtype != "DT_UINT8":
        return signature_name, _as_model_takes(array, spec, signature_name, pixels), None
    if pixels not in (None, "0..255"):
        raise InvalidInput(
            f"{model.name} takes uint8 pixels 0..255 and scales them itself: leave out pixels={pixels!r}"
        )
    if array.dtype == np.uint8:
        return signature_name, array, None
    takes_unit = NORMALIZED_IMAGES in model.signatures
    or_floats = " or floats 0..1" if takes_unit else ""
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"images of dtype {array.dtype}: give uint8 0..255{or_floats}")
    if not array.size:
        return signature_name, array.astype(np.uint8), None
    low, high = array.min(), array.max()
    if takes_unit and array.dtype.kind == "f" and unit is not False and low >= 0 and high <= 1:
        return NORMALIZED_IMAGES, array.astype(np.float32), True
    if array.dtype.kind == "f" and unit:
        raise InvalidInput(
            f"pixels run from {low:g} to {high:g}, but the stream started with floats 0..1: use one range"
        )
    if not (low >= 0 and high <= 255):  # NaN fails here too
        raise InvalidInput(f"pixels run from {low:g} to {high:g}: give uint8 0..255{or_floats}")
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        began = ", as the stream started" if unit is False else ""
        raise InvalidInput(
            f"float pixels run to {high:g} and are not whole: give whole numbers 0..255{began}"
            + ("" if began else or_floats)
        )
    return signature_name, array.astype(np.uint8), False if array.dtype.kind == "f" else None


def _as_model_takes(array: np.ndarray, spec: TensorSpec, signature_name: str, pixels: str | None) -> np.ndarray:
    """Images for a model whose input is not uint8. Floats are sent unchanged; whole numbers are scaled to `pixels`."""
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.numpy.kind not in "fiu":
        raise InvalidInput(f"signature {signature_name!r} takes {spec}, which is not a batch of images; use predict()")
    if dtype.numpy.kind != "f":
        whole = array.dtype.kind in "bui" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
        return _cast(array, dtype.numpy, spec) if whole or not array.size else _refuse(array, spec)
    if array.dtype.kind != "f" and array.size:
        if pixels is None:
            raise InvalidInput(
                f"signature {signature_name!r} takes {spec} and the images are {array.dtype}: give the pixel range "
                f"that the model was trained with as pixels={' or '.join(map(repr, RANGES))} (--pixels), or send floats"
            )
        if array.dtype.kind not in "bui" or not (array.min() >= 0 and array.max() <= 255):
            raise InvalidInput(f"pixels={pixels!r} converts whole numbers 0..255, but the images are {_run(array)}")
        layout = layout_of(spec.shape[1:] if spec.shape else None)
        array = scaled(array, pixels, -1 if layout is None else layout.axis)
    return _cast(array, dtype.numpy, spec)


def _cast(array: np.ndarray, dtype: np.dtype, spec: TensorSpec) -> np.ndarray:
    converted = dtypes.cast(array, dtype)
    return _refuse(array, spec) if converted is None else converted


def _refuse(array: np.ndarray, spec: TensorSpec) -> NoReturn:
    raise InvalidInput(f"the model takes {spec}, and the images are {_run(array)}")


def _run(array: np.ndarray) -> str:
    return f"{array.dtype} from {array.min():g} to {array.max():g}" if array.dtype.kind in "buif" else str(array.dtype)


def _with_batch_dimension(data: np.ndarray | Sequence[np.ndarray], spec: TensorSpec, model: str) -> np.ndarray:
    """`data` as [N, …] in the shape that the signature takes; a single image gets a batch dimension."""
    if spec.shape is None:
        return data if isinstance(data, np.ndarray) else _stack(data, None, model)
    row = spec.shape[1:]
    if not isinstance(data, np.ndarray) or data.shape == (0,):  # an empty list gives the shape (0,)
        return _stack(list(data), row, model)
    for array in (data, data[..., 0]) if data.ndim and data.shape[-1] == 1 else (data,):
        if fits(array.shape[1:], row) and array.ndim:
            return array
        if fits(array.shape, row):
            return array[np.newaxis]
    layout = layout_of(row)
    if layout is not None:
        for batch in (data, data[np.newaxis]):
            images = arranged(batch, layout)
            if images is not None:
                return images
    raise InvalidInput(f"images of shape {data.shape}: {model} takes {_sizes(('N', *row))}, or one image {_sizes(row)}")


def _stack(data: Sequence[np.ndarray], row: tuple[int | None, ...] | None, model: str) -> np.ndarray:
    images = [_one(image, row) for image in data]
    for index, image in enumerate(images):
        if row is not None and not fits(image.shape, row):
            raise InvalidInput(f"image {index} has shape {image.shape}: {model} takes {_sizes(row)}")
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            message = f"image {index} has shape {image.shape} and image 0 has {images[0].shape}"
            raise MixedShapes(message, images)
    return np.stack(images) if images else np.empty((0, *(d or 1 for d in row or ())), np.uint8)


def _one(image: np.ndarray, row: tuple[int | None, ...] | None) -> np.ndarray:
    """One image of a list in the shape `row`, or unchanged if it does not fit."""
    if row is None or fits(image.shape, row):
        return image
    if image.ndim == len(row) + 1 and image.shape[-1] == 1:
        return image[..., 0]
    layout = layout_of(row)
    batch = None if layout is None else arranged(image[np.newaxis], layout)
    return image if batch is None else batch[0]


def fits(shape: tuple[int, ...], row: tuple[int | None, ...]) -> bool:
    """Whether `shape` has the sizes of `row`, of which None is open."""
    return len(shape) == len(row) and all(size in (None, have) for have, size in zip(shape, row, strict=True))


def _sizes(sizes: tuple[object, ...]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in sizes)}]"
