"""Classify, Regress and MultiInference: signatures that take serialized tf.Examples and return labels or numbers.

Semantics and texts: tensorflow_serving/servables/tensorflow/{classifier,regressor,multi_inference}.cc and util.cc,
recorded on 2.20.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hangtag.protocol import dtypes, protobuf
from hangtag.protocol.protobuf import WireError

from ..errors import ServingError, invalid
from ..limits import STRING_BYTES, Budget, bytes_of
from ..models.servable import Servable
from ..tensors.image_sizes import check_images
from ..tensors.types import number_of, shape_text

_VALUE_BYTES = 200  # memory of a class and its score as objects, without the name

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{method}" for method in ("classify", "regress", "predict"))

Scored = list[tuple[bytes, float]]
"""The classes of one example with their scores; a signature may omit the classes or the scores."""


def read_input(content: memoryview, budget: Budget) -> np.ndarray:
    """The serialized Examples of an Input message, [N] bytes. A context is prepended to each Example."""
    context = bytearray()
    examples: list[bytes] = []
    try:
        for field, _, value in protobuf.fields(content):
            if field not in (1, 2):
                continue
            context, examples = bytearray(), []  # the last member of a oneof counts
            for inner, _, part in protobuf.fields(protobuf.as_block(value)):
                if inner == 1:
                    example = protobuf.as_block(part)
                    budget.take(2 * (STRING_BYTES + len(example)))
                    examples.append(bytes(example))
                elif inner == 2 and field == 2:
                    context += protobuf.as_block(part)
    except WireError as error:
        raise ServingError("INTERNAL", "Error parsing serialized input.") from error
    if not examples:
        raise invalid("Input is empty.")
    budget.take(len(context) * len(examples))
    array = np.empty(len(examples), object)
    array[:] = [bytes(context) + example for example in examples] if context else examples
    check_images(array.tolist(), budget)
    return array


def signature_of(servable: Servable, name: str) -> Any:
    """The SignatureDef that Classify and Regress ask for."""
    signature = servable.signature(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or 'serving_default'}")
    return signature


def classify(servable: Servable, name: str, examples: memoryview, budget: Budget) -> list[Scored]:
    """The classes of each example by a classify signature."""
    outputs = _check_classify(signature_of(servable, name), servable.checks_methods)
    return _classes(*_run(servable, name, examples, outputs, "Classify", budget))


def regress(servable: Servable, name: str, examples: memoryview, budget: Budget) -> list[float]:
    """One number for each example by a regress signature."""
    outputs = _check_regress(signature_of(servable, name), servable.checks_methods)
    return _numbers(*_run(servable, name, examples, outputs, "Regress", budget))


def multi_inference(
    servable: Servable, tasks: Sequence[Any], examples: memoryview, budget: Budget
) -> list[tuple[Any, Any]]:
    """For each InferenceTask, the task and its result: rows of classes or a list of numbers."""
    checked = []
    names: set[str] = set()
    for task in tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = spec.signature_name or "serving_default"
        if name in names:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        names.add(name)
        signature = servable.signature(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        check = _check_classify if task.method_name == CLASSIFY else _check_regress
        outputs = check(signature, servable.checks_methods)
        checked.append((task, name, outputs))
    results = []
    for task, name, outputs in checked:
        finish = _classes if task.method_name == CLASSIFY else _numbers
        results.append((task, finish(*_run(servable, name, examples, outputs, "MultiInference", budget))))
    return results


def _run(
    servable: Servable, name: str, examples: memoryview, outputs: Sequence[str], api: str, budget: Budget
) -> tuple[int, dict[str, np.ndarray]]:
    inputs = read_input(examples, budget)
    arrays = servable.run(name, {"inputs": inputs}, outputs, api, budget)
    budget.take(bytes_of(arrays) + max(array.size for array in arrays) * _VALUE_BYTES)
    return len(inputs), dict(zip(outputs, arrays, strict=True))


# ---- checks before


def _check_classify(signature: Any, methods_too: bool) -> list[str]:
    if methods_too and signature.method_name != CLASSIFY:
        raise _wrong_method("classification", CLASSIFY, signature)
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature}")
    outputs = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature '
            f"was: {signature}"
        )
    return outputs


def _check_regress(signature: Any, methods_too: bool) -> list[str]:
    if methods_too and signature.method_name != REGRESS:
        raise _wrong_method("regression", REGRESS, signature)
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")
    return ["outputs"]


def _wrong_method(kind: str, wanted: str, signature: Any) -> ServingError:
    return invalid(f"Expected {kind} signature method_name to be {wanted}. Was: {signature.method_name}")


# ---- checks after


def _classes(count: int, outputs: dict[str, np.ndarray]) -> list[Scored]:
    for alias, wanted, name in (("classes", 7, "DT_STRING"), ("scores", 1, "DT_FLOAT")):
        array = outputs.get(alias)
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array.shape)}")
        if number_of(array) != wanted:
            raise invalid(f"Expected {alias} Tensor of {name}. Got: {_type(array)}")
        if len(array) != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    shape = next(array.shape for array in (classes, scores) if array is not None)
    labels: Any = np.full(shape, b"", object) if classes is None else classes
    numbers: Any = np.zeros(shape, np.float32) if scores is None else scores
    return [list(zip(*row, strict=True)) for row in zip(labels.tolist(), numbers.tolist(), strict=True)]


def _numbers(count: int, outputs: dict[str, np.ndarray]) -> list[float]:
    array = outputs["outputs"]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{shape_text(array.shape)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if number_of(array) != 1:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type(array)}")
    numbers: list[float] = array.ravel().tolist()
    return numbers


def _type(array: np.ndarray) -> str:
    return dtypes.name_of(number_of(array))
