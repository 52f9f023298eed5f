"""Loads SavedModels of TensorFlow 1, whose variables and tables TensorFlow 2 can run but not save again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

_WHAT = "publishing a model"


def has_objects(path: Path) -> bool:
    """Whether a SavedModel has an object graph, as TensorFlow 2 writes. Raises InvalidInput if it cannot be read."""
    loader = require("tensorflow.python.saved_model.loader_impl", extra="export", what=_WHAT)
    tf = require("tensorflow", extra="export", what=_WHAT)
    try:
        document = loader.parse_saved_model(str(path))
    except (OSError, tf.errors.OpError) as error:
        raise InvalidInput(f"{path} is not a SavedModel: {' '.join(str(error).split())[:300]}") from error
    if not document.meta_graphs:
        raise InvalidInput(f"{path} is not a SavedModel: its saved_model.pb has no graph")
    tags = [set(graph.meta_info_def.tags) for graph in document.meta_graphs]
    if any(graph.HasField("object_graph_def") for graph in document.meta_graphs):
        return True
    if {tf.saved_model.SERVING} not in tags:
        listed = "; ".join(",".join(sorted(each)) or "none" for each in tags)
        raise InvalidInput(f"{path} has no graph with the tag 'serve', which a server loads (its tags: {listed})")
    return False


def is_not_saved_again(function: Any) -> bool:
    """Whether a signature's graph has old variables or tables, whose values TensorFlow 2 would not save."""
    return any(node.op in ("VariableV2", "Variable", "HashTableV2") for node in function.graph.as_graph_def().node)


def frozen(path: Path, signature: str) -> tuple[Any, tuple[Any, ...]]:
    """The signature as a concrete function with constants instead of variables, and the tables that it reads."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        meta_graph = v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(path))
        definition = meta_graph.signature_def[signature]
        inputs = {name: info.name for name, info in definition.inputs.items()}
        outputs = {name: info.name for name, info in definition.outputs.items()}
        nodes = sorted({name.split(":")[0] for name in [*inputs.values(), *outputs.values()]})
        graph = v1.graph_util.convert_variables_to_constants(session, session.graph_def, nodes)
        contents = {node.name: _content(session, node) for node in graph.node if node.op == "HashTableV2"}
    # New tables, because the old ones are initialized when the model is loaded, by operations outside of the function.
    tables = {name: _table(*content) for name, content in contents.items()}

    def rebuild() -> None:
        capture = v1.get_default_graph().capture
        handles = {f"{name}:0": capture(table.resource_handle) for name, table in tables.items()}
        tf.import_graph_def(graph, input_map=handles, name="")

    whole = v1.wrap_function(rebuild, [])
    feeds = {name: whole.graph.as_graph_element(tensor) for name, tensor in inputs.items()}
    fetches = {name: whole.graph.as_graph_element(tensor) for name, tensor in outputs.items()}
    function = whole.prune(list(feeds.values()), fetches)
    return _Named(function, feeds), tuple(tables.values())


def _content(session: Any, node: Any) -> tuple[Any, ...]:
    """The keys and values of a table, and their types."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    handle = session.graph.get_tensor_by_name(f"{node.name}:0")
    key, value = (tf.as_dtype(node.attr[name].type) for name in ("key_dtype", "value_dtype"))
    exported = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key, Tvalues=value)
    return *session.run((exported.keys, exported.values)), key, value


def _table(keys: Any, values: Any, key: Any, value: Any) -> Any:
    tf = require("tensorflow", extra="export", what=_WHAT)
    content = tf.lookup.KeyValueTensorInitializer(keys, values, key, value)
    return tf.lookup.StaticHashTable(content, "" if value == tf.string else 0)  # each look-up has its own default


class _Named:
    """A pruned function with named inputs, like a loaded signature."""

    def __init__(self, function: Any, feeds: dict[str, Any]) -> None:
        tf = require("tensorflow", extra="export", what=_WHAT)
        specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in feeds.items()}
        self._function, self._order = function, list(feeds)
        self.structured_input_signature = ((), specs)

    def __call__(self, **inputs: Any) -> Any:
        return self._function(*[inputs[name] for name in self._order])
