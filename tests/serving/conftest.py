"""One server over the recorded models, made once a session, as the recording's C++ server was started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Server, serving

collect_ignore = ["conformance"]  # scripts to be run, not modules with doctests

CONFORMANCE = Path(__file__).parent / "conformance"
MODELS = CONFORMANCE / "models"
VERSIONS = 3  # fashion 1 and 2, types 1


@pytest.fixture(scope="session")
def recorded_flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags of the recording."""
    folder = tmp_path_factory.mktemp("recorded")
    config = folder / "models.config"
    config.write_text((CONFORMANCE / "models.config").read_text().replace("MODELS", str(MODELS)))
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    return [
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={monitoring}",
        "--enable_grpc_healthcheck_service=true",
    ]


@pytest.fixture(scope="session")
def recorded(recorded_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the recorded models: fashion 1 and 2, types 1."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(MODELS / "fashion", log, *recorded_flags, versions=VERSIONS) as server:
        yield server


@pytest.fixture(scope="session")
def careful(recorded_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same by grpcio, with small limits, CORS, an access log, and a unix socket `careful.sock` next to the log."""
    folder = tmp_path_factory.mktemp("careful")
    flags = [flag for flag in recorded_flags if "healthcheck" not in flag]
    flags += ["--grpc_front=grpcio", f"--grpc_socket_path={folder / 'careful.sock'}"]
    flags += ["--max_request_bytes=2000000", "--max_inflated_bytes=4000000"]
    flags += ["--rest_api_enable_cors_support", "--access_log"]
    with serving(MODELS / "fashion", folder / "log", *flags, versions=VERSIONS) as server:
        yield server
