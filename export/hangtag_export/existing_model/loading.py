"""Loads a trained model from a file, a SavedModel folder or Python, as a function in TensorFlow's graph."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

from ..keras_files import keras_version, kind_of_content, lower_case, reason, uninterrupted

_WHAT = "publishing a model"
_GRAPH_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")  # a name that an operation may have
_ARGUMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KERAS_FILES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Source:
    """A loaded model with one input, and with outputs by name.

    `call` maps a tensor of `dtype` and `shape` (the first dimension is the batch) to the outputs.
    """

    call: Callable[[Any], dict[str, Any]]
    shape: tuple[int | None, ...]
    dtype: Any
    input_name: str
    origin: dict[str, Any]  # for the model card
    keras_model: Any = None
    variables: tuple[Any, ...] = ()  # the variables of a SavedModel that `call` reads
    resources: tuple[Any, ...] = ()  # the loaded SavedModel, if `call` reads more than variables, such as tables


def load(model: Any, signature: str | None = None, imports: Sequence[str] = ()) -> Source:
    """Load `model`: a path, or a Keras model. Raises InvalidInput.

    `imports` are modules to import first, which register the user's own layers.
    """
    import_modules(imports)
    if not isinstance(model, (str, Path)):
        if signature is not None:
            raise InvalidInput("a signature is for a SavedModel folder: a Keras model has none")
        return _of_keras(model, {"format": "python", "file": None, "sha256": None})
    path = Path(model)
    if path.is_dir():
        return _of_savedmodel(path, signature)
    if not path.is_file():
        what = f"{path} is neither a file nor a folder" if path.exists() else f"there is no {path}"
        raise InvalidInput(f"{what}: give a .keras or .h5 file or a SavedModel folder")
    if signature is not None:
        raise InvalidInput(f"--signature is for a SavedModel folder, and {path} is a file")
    if path.suffix.lower() not in _KERAS_FILES:
        try:
            kind = kind_of_content(path)
        except OSError:
            kind = None
        hint = f": its content is that of a {kind} file, so rename it" if kind else ""
        hint = f": give its folder, {path.parent}" if path.name.startswith("saved_model.pb") else hint
        raise InvalidInput(f"{path} is neither a .keras or .h5 file nor a SavedModel folder{hint}")
    kind = "keras" if path.suffix.lower() == ".keras" else "h5"
    return _of_keras(_load_keras(path), {"format": kind, "file": str(path), "sha256": _sha256(path)})


def argument_name(name: str) -> str:
    """A valid argument name for a model's input: TensorFlow cannot save every name."""
    return name if _ARGUMENT_NAME.fullmatch(name) else "arg_" + re.sub("[^A-Za-z0-9]", "_", name)


def import_modules(names: Sequence[str]) -> None:
    """Import modules that register the user's own layers. Raises InvalidInput."""
    if names and "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, which is missing for console scripts
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # the user's module may raise anything
            raise InvalidInput(f"cannot import {name}: {type(error).__name__}: {error}") from error


def _sha256(path: Path) -> str:
    """The SHA-256 of a file; for a folder, of the paths and contents of all its files."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in files:
        if file != path:
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


# ---- Keras


def _load_keras(path: Path) -> Any:
    """The Keras model in a file, loaded by the Keras that wrote it, 2 or 3, if that is installed."""
    keras = require("keras", extra="export", what=_WHAT)
    loaders = [keras.saving.load_model]
    is_keras_2 = keras_version(path).startswith(("1", "2"))
    if is_keras_2:
        try:
            tf_keras = importlib.import_module("tf_keras")
        except ImportError:
            pass
        else:
            loaders.insert(0, tf_keras.models.load_model)
    reasons = []
    for loader in loaders:
        try:
            with lower_case(path) as readable, uninterrupted():
                return loader(readable, compile=False)
        except Exception as error:  # a damaged file may raise errors of several libraries
            reasons.append(reason(error, path))
    hint = "; it is a file of Keras 2: pip install tf_keras, and try again" if is_keras_2 and len(loaders) == 1 else ""
    raise InvalidInput(f"Keras cannot load {path}: {reasons[0]}{hint}")


def _of_keras(model: Any, origin: dict[str, Any]) -> Source:
    tf = require("tensorflow", extra="export", what=_WHAT)
    inputs = getattr(model, "inputs", None)
    if not callable(model) or not hasattr(model, "variables"):
        raise InvalidInput(f"a {type(model).__name__} is not a model: give a Keras model, or the path of one")
    if not inputs:
        model = _with_input(model)
        inputs = model.inputs
    if len(inputs) > 1:
        listed = ", ".join(str(each.name) for each in inputs)
        raise InvalidInput(
            f"the model takes {len(inputs)} inputs ({listed}): only a model of one image input can be published"
        )
    (one,) = inputs
    names = list(getattr(model, "output_names", None) or ())

    def call(images: Any) -> dict[str, Any]:
        with _names_for_graphs(model):
            return _named(model(images, training=False), names)

    library = sys.modules.get(type(model).__module__.split(".")[0])
    origin = origin | {"keras": getattr(library, "__version__", None)}
    dtype = tf.as_dtype(one.dtype)
    return Source(call, tuple(one.shape), dtype, str(one.name).split(":")[0], origin, keras_model=model)


def _with_input(model: Any) -> Any:
    """A subclassed model behind an Input layer with the shape that it was built or called with."""
    keras = require("keras", extra="export", what=_WHAT)
    built_with = model.get_build_config() if isinstance(model, keras.Model) else None
    shape = (built_with or {}).get("input_shape")
    if not (
        isinstance(shape, (list, tuple)) and len(shape) > 1 and all(isinstance(each, int | None) for each in shape)
    ):
        raise InvalidInput(
            f"the model {getattr(model, 'name', '')!r} does not state its input: call it once on images, or wrap it as "
            "keras.Sequential([keras.Input((224, 224, 3)), model])"
        )
    return keras.Sequential([keras.Input(tuple(shape[1:])), model])


@contextmanager
def _names_for_graphs(model: Any) -> Iterator[None]:
    """Rename layers within the block if TensorFlow's graph cannot have their names; Keras allows any text.

    Their variables keep the new names, with which they are saved.
    """
    keras = require("keras", extra="export", what=_WHAT)
    layers = model._flatten_layers() if isinstance(model, keras.Layer) else ()
    renamed = [(layer, layer.name) for layer in layers if not _GRAPH_NAME.fullmatch(layer.name)]
    for number, (layer, _) in enumerate(renamed):
        layer.name = f"layer_{number}"
    if renamed:
        for number, variable in enumerate(model.variables):
            if not _GRAPH_NAME.fullmatch(variable.value._shared_name):
                variable.value._handle_name = f"variable_{number}:0"
    try:
        yield
    finally:
        for layer, name in renamed:
            layer.name = name


def _named(outputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """A model's outputs by name, if it returns one output, a list or a dict."""
    if isinstance(outputs, dict):
        return dict(outputs)
    if not isinstance(outputs, (list, tuple)):
        return {names[0] if len(names) == 1 else "output": outputs}
    if len(names) != len(outputs):
        names = [f"output_{number}" for number in range(len(outputs))]
    return dict(zip(names, outputs, strict=True))


# ---- SavedModel


def _of_savedmodel(path: Path, signature: str | None) -> Source:
    tf = require("tensorflow", extra="export", what=_WHAT)
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        inner = sorted(each.parent for depth in ("*", "*/*", "*/*/*") for each in path.glob(f"{depth}/saved_model.pb"))
        newest = max(inner, key=lambda each: int(each.name) if each.name.isdecimal() else -1, default=None)
        hint = "" if newest is None else f": give the folder that has it, like {newest}"
        raise InvalidInput(f"{path} is not a SavedModel: it has no saved_model.pb{hint}")
    from . import tf1

    try:
        loaded = tf.saved_model.load(str(path), tags=None if tf1.has_objects(path) else [tf.saved_model.SERVING])
        signatures = dict(loaded.signatures)
    except InvalidInput:
        raise
    except Exception as error:  # a damaged folder may raise several kinds of errors
        message = " ".join(str(error).split())
        if "TensorSliceReader" in message or "Read less bytes" in message:
            message = f"its weights, the files in {path / 'variables'}, are missing or incomplete"
        raise InvalidInput(f"TensorFlow cannot load {path}: {message[:300]}") from error
    name = _choose_signature(path, sorted(signatures), signature, loaded)
    function = signatures[name]
    variables, reads_more = _captured(function)
    resources: tuple[Any, ...] = (loaded,) if reads_more else ()
    if tf1.is_not_saved_again(function):
        (function, resources), variables = tf1.frozen(path, name), ()
    (_, keywords) = function.structured_input_signature
    if len(keywords) != 1:
        raise InvalidInput(
            f"signature {name!r} of {path} takes {len(keywords)} inputs ({', '.join(sorted(keywords))}): only a model "
            "of one image input can be published"
        )
    ((input_name, spec),) = keywords.items()
    if spec.shape.rank is None:
        raise InvalidInput(f"input {input_name!r} of {path} has no shape: save the model with one")
    if spec.dtype == tf.string:
        raise InvalidInput(
            f"input {input_name!r} of {path} takes strings, not pixels: choose another signature with --signature "
            f"({', '.join(sorted(signatures))})"
        )
    return Source(
        call=lambda images: dict(function(**{input_name: images})),
        shape=tuple(spec.shape.as_list()),
        dtype=spec.dtype,
        input_name=input_name,
        origin={"format": "savedmodel", "file": str(path), "sha256": _sha256(path), "signature": name},
        variables=variables,
        resources=resources,
    )


def _captured(function: Any) -> tuple[tuple[Any, ...], bool]:
    """The variables that a loaded signature reads, and whether it reads other resources, such as tables.

    Only these are saved again. A SavedModel may have more variables, such as those of an optimizer or copies by Keras.
    """
    tf = require("tensorflow", extra="export", what=_WHAT)
    captured = [tensor for tensor in function.captured_inputs if tensor.dtype == tf.resource]
    by_handle = {id(variable.handle): variable for variable in function.graph.variables}
    variables = [by_handle[id(tensor)] for tensor in captured if id(tensor) in by_handle]
    return tuple(variables), len(variables) < len(captured)


def _choose_signature(path: Path, names: list[str], wanted: str | None, loaded: Any) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InvalidInput(f"{path} has no signature {wanted!r} (it has {', '.join(names) or 'none'})")
        return wanted
    if "serving_default" in names:
        return "serving_default"
    if len(names) == 1:
        return names[0]
    if not names:
        hint = "save the model with one"
        if callable(loaded):
            hint = (
                "load it with tf.saved_model.load, and save it again with signatures="
                "loaded.__call__.get_concrete_function(tf.TensorSpec((None, 224, 224, 3), tf.float32))"
            )
        raise InvalidInput(f"{path} has no signature: {hint}")
    raise InvalidInput(f"{path} has no serving_default: choose a signature with --signature ({', '.join(names)})")
