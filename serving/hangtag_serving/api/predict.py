"""Checks a Predict request before it runs, over gRPC and REST.

Semantics and texts: tensorflow_serving/servables/tensorflow/predict_util.cc and tensorflow/cc/saved_model/util.cc,
recorded on 2.20.0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hangtag.protocol.protobuf import WireError

from ..errors import ServingError, invalid
from ..limits import Budget
from ..models.servable import Servable
from ..tensors.decoding import TensorMessage, decode
from .classify import CLASSIFY, PREDICT, REGRESS


def check_method(servable: Servable, signature: Any) -> None:
    """With --enable_signature_method_name_check, raise ServingError unless the signature's method is known."""
    known = (PREDICT, CLASSIFY, REGRESS)
    if servable.checks_methods and signature.method_name not in known:
        raise ServingError(
            "INTERNAL",
            f"Expected prediction signature method_name to be one of {{{', '.join(known)}}}. Was: "
            f"{signature.method_name}",
        )


def check_inputs(signature: Any, sent: Collection[str]) -> None:
    """Raise ServingError unless the inputs have the signature's names; inputs with a default are optional."""
    expected = signature.inputs
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        names, wanted = set(sent), set(expected)
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_list(names)}}}) != "
            f"len({{{_list(wanted)}}}). Sent extra: {{{_list(names - wanted)}}}. "
            f"Missing but required: {{{_list(wanted - names)}}}."
        )
    for alias in sorted(expected):
        if alias not in sent and alias not in signature.defaults:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {expected[alias].name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {{{_list(sent)}}}, or default input "
                f"alias set: {_list(signature.defaults)}"
            )


def read_tensors(signature: Any, sent: Mapping[str, TensorMessage], budget: Budget) -> dict[str, np.ndarray]:
    """The signature's inputs as arrays; inputs that were not sent get their defaults."""
    arrays = {}
    for alias in sorted(signature.inputs):
        message = sent[alias] if alias in sent else TensorMessage(signature.defaults[alias], {})
        try:
            arrays[alias] = decode(message, budget)
        except WireError as error:
            raise invalid(f"tensor parsing error: {alias}") from error
    return arrays


def chosen_outputs(signature: Any, output_filter: Sequence[str]) -> list[str]:
    """The sorted names of the outputs to compute; an empty filter means all."""
    chosen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            known = _list(signature.outputs)
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{known}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.add(alias)
    return sorted(chosen or signature.outputs)


def _list(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
