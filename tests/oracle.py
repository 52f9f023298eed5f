"""TensorFlow and its messages, to compare ours with. They are imported at the first use: most tests need none."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from hangtag.optional import require

_MODULES = {
    "tf": "tensorflow",
    "tensor_pb2": "tensorflow.core.framework.tensor_pb2",
    "types_pb2": "tensorflow.core.framework.types_pb2",
    "error_codes_pb2": "tensorflow.core.protobuf.error_codes_pb2",
    "meta_graph_pb2": "tensorflow.core.protobuf.meta_graph_pb2",
    "get_model_metadata_pb2": "tensorflow_serving.apis.get_model_metadata_pb2",
    "get_model_status_pb2": "tensorflow_serving.apis.get_model_status_pb2",
    "predict_pb2": "tensorflow_serving.apis.predict_pb2",
}


def __getattr__(name: str) -> ModuleType:
    if name not in _MODULES:
        raise AttributeError(name)
    require("tensorflow", extra="export", what="the tests")  # first, so that it comes without Keras
    return import_module(_MODULES[name])
