"""SavedModels of TensorFlow 1, whose variables TensorFlow 2 can run but not save again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hangtag.errors import InvalidInput
from hangtag.optional import require

_WHAT = "publishing a model"


def has_objects(path: Path) -> bool:
    """Whether a SavedModel is one of TensorFlow 2, with an object graph. Raises InvalidInput if it cannot be read."""
    loader = require("tensorflow.python.saved_model.loader_impl", extra="export", what=_WHAT)
    tf = require("tensorflow", extra="export", what=_WHAT)
    try:
        document = loader.parse_saved_model(str(path))
    except (OSError, tf.errors.OpError) as error:
        raise InvalidInput(f"{path} is not a SavedModel: {' '.join(str(error).split())[:300]}") from error
    tags = [set(graph.meta_info_def.tags) for graph in document.meta_graphs]
    if any(graph.HasField("object_graph_def") for graph in document.meta_graphs):
        return True
    if {tf.saved_model.SERVING} not in tags:
        listed = "; ".join(",".join(sorted(each)) or "none" for each in tags)
        raise InvalidInput(f"{path} has no graph with the tag 'serve', which a server loads (its tags: {listed})")
    return False


def reads_reference_variables(function: Any) -> bool:
    """Whether a signature's graph has variables of the old kind, which are not saved again."""
    return any(node.op in ("VariableV2", "Variable") for node in function.graph.as_graph_def().node)


def frozen(path: Path, signature: str) -> Any:
    """The signature as a concrete function whose variables are constants."""
    tf = require("tensorflow", extra="export", what=_WHAT)
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        meta_graph = v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(path))
        definition = meta_graph.signature_def[signature]
        inputs = {name: info.name for name, info in definition.inputs.items()}
        outputs = {name: info.name for name, info in definition.outputs.items()}
        nodes = sorted({name.split(":")[0] for name in [*inputs.values(), *outputs.values()]})
        graph = v1.graph_util.convert_variables_to_constants(session, session.graph_def, nodes)
    whole = v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    feeds = {name: whole.graph.as_graph_element(tensor) for name, tensor in inputs.items()}
    fetches = {name: whole.graph.as_graph_element(tensor) for name, tensor in outputs.items()}
    function = whole.prune(list(feeds.values()), fetches)
    return _Named(function, feeds)


class _Named:
    """A pruned function, called and described by its signature's input names as a loaded signature is."""

    def __init__(self, function: Any, feeds: dict[str, Any]) -> None:
        tf = require("tensorflow", extra="export", what=_WHAT)
        specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in feeds.items()}
        self._function, self._order = function, list(feeds)
        self.structured_input_signature = ((), specs)

    def __call__(self, **inputs: Any) -> Any:
        return self._function(*[inputs[name] for name in self._order])
