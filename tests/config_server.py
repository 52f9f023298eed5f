"""A server that treats its model config file as TensorFlow Serving 2.20 was seen to, and answers GetModelStatus and,
by label, GetModelMetadata.

The rule that matters, from its source (ServerCore::ReloadConfig) and from a recording of the C++ server: at each poll
labels are checked first, against what is AVAILABLE then. An existing label that would move to a version that is not
loaded makes the whole config be refused, again at every poll; a new label may come with its version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

_STATE = get_model_status_pb2.ModelVersionStatus


class ConfigServer(model_service_pb2_grpc.ModelServiceServicer, prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves the one model of a config. `broken` versions do not load."""

    def __init__(self, config: Path, base_path: Path, broken: frozenset[int] = frozenset()) -> None:
        self.config, self.base_path, self.broken = config, base_path, broken
        self.available: set[int] = set()
        self.failed: set[int] = set()
        self.labels: dict[str, int] = {}
        self.refused: list[str] = []
        self.seen: list[str] = []
        self.target = ""
        self._changing = threading.Lock()  # no call sees half of a change

    def poll(self) -> None:
        """One look at the file, as every --model_config_file_poll_wait_seconds."""
        with self._changing:
            self._poll()

    def _poll(self) -> None:
        text = self.config.read_text()
        if not self.seen or self.seen[-1] != text:
            self.seen.append(text)
        (entry,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
        assert entry.model_platform == "tensorflow"
        assert entry.base_path.startswith("/")
        for label, version in entry.version_labels.items():
            if label in self.labels and version not in self.available:
                self.refused.append(f"Request to assign label to version {version}, which is not currently available")
                return
        self.labels = dict(entry.version_labels)
        on_disk = {int(path.name) for path in self.base_path.iterdir() if path.name.isdecimal()}
        policy = entry.model_version_policy
        kind = policy.WhichOneof("policy_choice")
        wanted = set(policy.specific.versions) if kind == "specific" else on_disk if kind == "all" else {max(on_disk)}
        self.failed = wanted & self.broken
        self.available = (wanted & on_disk) - self.broken

    def GetModelStatus(self, request, context):  # noqa: N802 - gRPC's name
        answer = get_model_status_pb2.GetModelStatusResponse()
        with self._changing:
            available, failed = self.available, self.failed
        for version in sorted(available | failed, reverse=True):
            status = answer.model_version_status.add(version=version, state=_STATE.AVAILABLE)
            if version in failed:
                status.state, status.status.error_code, status.status.error_message = _STATE.END, 15, "corrupted"
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802 - gRPC's name
        label = request.model_spec.version_label
        with self._changing:
            labels, available = self.labels, self.available
        if not labels:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"Model labels does not init yet.{label}")
        if label not in labels:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        version = labels[label]
        if version not in available:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific(fashion, {version})")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = "fashion"
        answer.model_spec.version.value = version
        answer.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return answer


@contextmanager
def running(config: Path, base_path: Path, broken: frozenset[int] = frozenset()) -> Iterator[ConfigServer]:
    """Poll the file twenty times a second until the block ends."""
    server = ConfigServer(config, base_path, broken)
    server.poll()
    stop = threading.Event()

    def poll_on() -> None:
        while not stop.wait(0.05):
            server.poll()

    front = grpc.server(ThreadPoolExecutor(2))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(server, front)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(server, front)
    server.target = f"127.0.0.1:{front.add_insecure_port('127.0.0.1:0')}"
    poller = threading.Thread(target=poll_on)
    front.start()
    poller.start()
    try:
        yield server
    finally:
        stop.set()
        poller.join()
        front.stop(None).wait()
