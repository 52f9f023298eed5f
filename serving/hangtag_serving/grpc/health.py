"""grpc.health.v1, behind --enable_grpc_healthcheck_service.

As in C++, it does not follow the state of a model: the port opens when the first models are loaded, so any answer means
that the server is ready. Messages: github.com/grpc/grpc/blob/master/src/proto/grpc/health/v1/health.proto.
"""

from __future__ import annotations

from hangtag.protocol import protobuf
from hangtag.protocol.protobuf import WireError

from ..errors import ServingError

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
_SERVICES = ("", "ModelService", "PredictionService", "tensorflow.serving.ModelService",
             "tensorflow.serving.PredictionService")  # fmt: skip
_SERVING, _SERVICE_UNKNOWN = 1, 3


def check(body: bytes) -> bytes:
    """HealthCheckRequest to HealthCheckResponse."""
    if _service(body) not in _SERVICES:
        raise ServingError("NOT_FOUND", "unknown service")
    return protobuf.number(1, _SERVING)


def watch(body: bytes) -> bytes:
    """The only message of a Watch."""
    return protobuf.number(1, _SERVING if _service(body) in _SERVICES else _SERVICE_UNKNOWN)


def _service(body: bytes) -> str:
    try:
        return next(
            (protobuf.as_text(value) for field, _, value in protobuf.fields(memoryview(body)) if field == 1), ""
        )
    except WireError as error:
        raise ServingError("INTERNAL", f"Failed parsing request: {error}") from error
