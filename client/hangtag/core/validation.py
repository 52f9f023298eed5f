"""Hold images against the model's signatures, before a byte is sent: which signature, which dtype, which chunks.

TensorFlow Serving itself compares neither shape nor dtype with the signature, and a model that starts with Flatten
silently takes 14 x 56 for 28 x 28; so this is the only check there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..errors import InvalidInput, UnknownSignature
from ..model import ModelMetadata, Signature, TensorSpec
from ..protocol import dtypes
from ..protocol.tensors import Inputs
from .image_input import Encoded, Pixels, decode
from .scores import class_count, is_ranked, score_output

ENCODED, NORMALIZED, LABELS = "encoded_images", "normalized_images", "labels"

GRPC_ROWS = 1000
"""Images a gRPC chunk: what TensorFlow Serving's batching takes by default; both servers are near their best there."""

_GRPC_BYTES = 2 << 20  # stays under the 4 MiB that many proxies and servers allow a message
_REST_VALUES = 640  # 64 images of 10 classes: an answer over 16 KiB stalls 40 ms on TensorFlow Serving's HTTP server


class Plan(NamedTuple):
    """What to send: `array` whole, to be cut into chunks of `rows`; and which output holds the scores.

    `version` is the model's version by whose signature this was made. `unit` is how float pixels were understood: True
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

    def chunks(self) -> list[dict[str, np.ndarray]]:
        """The inputs of each request, in order."""
        starts = range(0, len(self.array), self.rows)
        return [{self.input_name: self.array[start : start + self.rows]} for start in starts]

    def suits(self, model: ModelMetadata) -> bool:
        """Whether `model`, perhaps another version than this was made for, takes and gives the same."""
        if model.version == self.version:
            return True
        other = model.signatures.get(self.signature_name or "serving_default")
        return other is not None and _interface(other) == _interface(self.signature)


class Parcel(NamedTuple):
    """Requests whose images get their answers together, from one version of the model.

    `items` are the images of each item that the caller gave, one after another through all `chunks`; `first` is the
    position of the first image.
    """

    plan: Plan
    chunks: Sequence[Inputs]
    items: list[np.ndarray]
    first: int = 0

    def rows(self) -> list[int]:
        """The number of images in each chunk."""
        return [len(chunk[self.plan.input_name]) for chunk in self.chunks]

    def begin(self, count: int) -> Parcel:
        """The first `count` requests, and the items that they hold whole."""
        rows = sum(self.rows()[:count])
        whole = [item for item, end in zip(self.items, accumulate(map(len, self.items)), strict=True) if end <= rows]
        return Parcel(self.plan, self.chunks[:count], whole, self.first)

    def again(self, plan: Callable[[Pixels | Encoded], Plan]) -> Parcel:
        """The same items as `plan` would have them now."""
        batches = (Encoded(item.tolist()) if item.dtype == object else Pixels(item) for item in self.items)
        plans = [plan(batch) for batch in batches]
        chunks = [chunk for made in plans for chunk in made.chunks()]
        return Parcel(plans[0], chunks, [made.array for made in plans], self.first)


def plan_classify(
    batch: Pixels | Encoded,
    model: ModelMetadata,
    signature_name: str,
    *,
    protocol: str,
    batch_size: int | None,
    unit: bool | None = None,
) -> Plan:
    """Choose the signature for `batch` and check it; raises InvalidInput or UnknownSignature.

    `unit` is what an earlier batch of the same stream was understood as; None when there was none.
    """
    if isinstance(batch, Encoded):
        if ENCODED in model.signatures:
            signature_name, array, unit = ENCODED, batch.as_array(), None
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
    rows = rows or batch_size or _rows(array, class_count(model, signature_name), protocol, is_ranked(signature))
    return Plan(signature_name, signature, input_name, array, output_name, rows, model.version, unit)


def find_signature(model: ModelMetadata, name: str) -> Signature:
    """The signature of that name."""
    name = name or "serving_default"
    signature = model.signatures.get(name)
    if signature is None:
        known = ", ".join(sorted(n for n in model.signatures if not n.startswith("__"))) or "none"
        hint = " (PNG and JPEG files are decoded by the model)" if name == ENCODED else ""
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
        also = ": give PNG or JPEG files" if signature_name == ENCODED else ", which are no images; use predict()"
        raise InvalidInput(f"signature {signature_name!r} takes {spec}{also}")
    array = _with_batch_dimension(batch.data, spec, model.name)
    if spec.dtype != "DT_UINT8":
        return signature_name, _as_float(array, spec, signature_name), None
    if array.dtype == np.uint8:
        return signature_name, array, None
    or_floats = " or floats 0..1" if NORMALIZED in model.signatures else ""
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"images of dtype {array.dtype}: give uint8 0..255{or_floats}")
    if not array.size:
        return signature_name, array.astype(np.uint8), None
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and unit is not False and low >= 0 and high <= 1 and NORMALIZED in model.signatures:
        return NORMALIZED, array.astype(np.float32), True
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
    """Images for a model that takes floats: only the caller knows the range it was trained on."""
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
    raise InvalidInput(f"images of shape {data.shape}: {model} takes {_words(('N', *row))}, or one image {_words(row)}")


def _stack(data: Sequence[np.ndarray], row: tuple[int | None, ...] | None, model: str) -> np.ndarray:
    images = [image[..., 0] if row and image.ndim == len(row) + 1 and image.shape[-1] == 1 else image for image in data]
    for index, image in enumerate(images):
        if row is not None and not _fits(image.shape, row):
            raise InvalidInput(f"image {index} has shape {image.shape}: {model} takes {_words(row)}")
        if image.shape != images[0].shape:
            raise InvalidInput(f"image {index} has shape {image.shape} and image 0 has {images[0].shape}")
    return np.stack(images) if images else np.empty((0, *(d or 1 for d in row or ())), np.uint8)


def _fits(shape: tuple[int, ...], row: tuple[int | None, ...]) -> bool:
    return len(shape) == len(row) and all(want in (None, have) for have, want in zip(shape, row, strict=True))


def _words(sizes: tuple[object, ...]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in sizes)}]"


# ---- chunks


def _rows(array: np.ndarray, classes: int | None, protocol: str, ranked: bool) -> int:
    if protocol == "rest":
        values = 2 * (classes or 10) if ranked else classes or 10  # a class name is about as long as two numbers
        return max(1, _REST_VALUES // max(1, values))
    row_bytes = sum(map(len, array)) / max(1, len(array)) if array.dtype == object else array[:1].nbytes
    return max(1, min(GRPC_ROWS, int(_GRPC_BYTES // max(1, row_bytes))))
