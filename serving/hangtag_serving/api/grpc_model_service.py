"""The gRPC methods for a model's metadata and status, and for a new model config.

Error texts: tensorflow_serving/model_servers/{get_model_status_impl,model_service_impl}.cc, recorded on 2.20.0.
"""

from __future__ import annotations

from typing import Any

from hangtag.errors import CODES

from ..errors import invalid
from ..limits import Budget, Limits
from ..models.registry import Models
from ..models.servable import Servable
from .grpc_messages import api, checked_spec, parse, spec_of, to_bytes


def metadata(models: Models, limits: Limits, body: bytes) -> bytes:
    """GetModelMetadataRequest to GetModelMetadataResponse; raises ServingError."""
    pb = api("get_model_metadata_pb2")
    request = parse(pb.GetModelMetadataRequest, body, Budget(limits))
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid(f"Metadata field {field} is not supported")
    with models.use(checked_spec(spec_of(request.model_spec))) as servable:
        answer = pb.GetModelMetadataResponse()
        answer.model_spec.name = servable.name
        answer.model_spec.version.value = servable.version
        answer.metadata["signature_def"].Pack(signature_map(servable))
        return to_bytes(answer)


def signature_map(servable: Servable) -> Any:
    """The SignatureDefMap message of a servable."""
    message = api("get_model_metadata_pb2").SignatureDefMap()
    for name, signature in servable.signatures.items():
        message.signature_def[name].CopyFrom(signature)
    return message


def status(models: Models, limits: Limits, body: bytes) -> bytes:
    """GetModelStatusRequest to GetModelStatusResponse; raises ServingError."""
    pb = api("get_model_status_pb2")
    request = parse(pb.GetModelStatusRequest, body, Budget(limits))
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    answer = pb.GetModelStatusResponse()
    for version in models.status(spec_of(request.model_spec)):
        entry = answer.model_version_status.add()
        entry.version = version.number
        entry.state = pb.ModelVersionStatus.State.Value(version.state)
        entry.status.error_code = CODES.index(version.error_code)
        entry.status.error_message = version.error_message
    return to_bytes(answer)


def reload(models: Models, limits: Limits, body: bytes) -> bytes:
    """ReloadConfigRequest to ReloadConfigResponse, after every new model is available; raises ServingError."""
    pb = api("model_management_pb2")
    request = parse(pb.ReloadConfigRequest, body, Budget(limits))
    if not request.config.HasField("model_config_list"):
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    models.reload(request.config)
    return to_bytes(pb.ReloadConfigResponse(status={"error_code": 0}))
