"""Freezes a loaded graph, that is, copies it with its variables as constants; and finds the signatures that allow this.

A prepared callable on a frozen graph, run in the caller's thread, takes a twentieth of the time of a signature call. A
signature that uses a table or another resource cannot be frozen, and runs in the session that loaded it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hangtag.optional import require
from hangtag.protocol import dtypes

_DT_RESOURCE = 20


class Parts:
    """The operations that each signature uses, including those in functions."""

    def __init__(self, graph_def: Any) -> None:
        self.graph_def = graph_def
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._inside: dict[str, set[str]] = {}

    def variables(self, signature: Any) -> set[str]:
        """The names of the signature's variable nodes in the main graph."""
        return {name for name in self._reached(signature) if self._nodes[name].op in ("VarHandleOp", "VariableV2")}

    def bytes_of(self, variables: Iterable[str]) -> int:
        """The memory of the values of these variables; a variable of unknown shape counts as 0."""
        return sum(_bytes(self._nodes[name].attr) for name in variables)

    def is_stateless(self, signature: Any) -> bool:
        """Whether the signature can be frozen: it only reads variables, and every tensor belongs to one node."""
        if not {_node(info) for info in _tensors(signature)} <= self._nodes.keys():
            return False
        reached = self._reached(signature)
        ops = {self._nodes[name].op for name in reached}
        for name in reached:
            ops |= self._ops_of_functions(self._nodes[name].attr)
        return not any(_is_tied(op) for op in ops)

    def _reached(self, signature: Any) -> set[str]:
        waiting = [_node(info) for info in _tensors(signature)]
        reached: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in reached or name not in self._nodes:
                continue
            reached.add(name)
            waiting += [source.lstrip("^").split(":")[0] for source in self._nodes[name].input]
        return reached

    def _ops_of_functions(self, attributes: Mapping[str, Any]) -> set[str]:
        ops: set[str] = set()
        for value in attributes.values():
            for name in [value.func.name, *(function.name for function in value.list.func)]:
                if name:
                    ops |= self._ops_inside(name)
        return ops

    def _ops_inside(self, name: str) -> set[str]:
        if name not in self._inside:
            self._inside[name] = set()  # set first, because functions may call themselves
            ops: set[str] = set()
            for node in self._functions[name].node_def if name in self._functions else ():
                ops |= {node.op} | self._ops_of_functions(node.attr)
            self._inside[name] = ops
        return self._inside[name]


def _tensors(signature: Any) -> list[Any]:
    """Inputs and outputs. An input that no output needs is included, because it is fed too."""
    return [*signature.inputs.values(), *signature.outputs.values()]


def _node(info: Any) -> str:
    """The node of a tensor; empty for a tensor that consists of several, such as a sparse one."""
    name: str = info.name
    return name.split(":")[0]


def _bytes(attributes: Any) -> int:
    dtype = dtypes.BY_NUMBER.get(attributes["dtype"].type)
    sizes = [max(dim.size, 0) for dim in attributes["shape"].shape.dim]
    itemsize: int = dtype.numpy.itemsize if dtype is not None else 8
    elements: int = math.prod(sizes)
    return elements * itemsize


def _is_tied(op: str) -> bool:
    if op == "VarHandleOp":
        return False
    if op.startswith("Assign") or "Iterator" in op or op in ("PyFunc", "EagerPyFunc", "PyFuncStateless"):
        return True
    registry = require("tensorflow.python.framework.op_def_registry", extra="serving", what="hangtag serve")
    definition = registry.get(op)
    return definition is not None and any(out.type == _DT_RESOURCE for out in definition.output_arg)


def freeze(session: Any, graph_def: Any, signatures: Iterable[Any]) -> Any:
    """A GraphDef without variables that computes the outputs of the signatures."""
    convert = require("tensorflow.python.framework.convert_to_constants", extra="serving", what="hangtag serve")
    needed = {_node(info) for signature in signatures for info in _tensors(signature)}
    return convert.convert_variables_to_constants_from_session_graph(session, graph_def, sorted(needed))
