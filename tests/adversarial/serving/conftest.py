"""Two servers on the recorded models, one for each gRPC implementation, made once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Server, serving

CONFORMANCE = Path(__file__).parents[2] / "serving" / "conformance"
VERSIONS = 3  # fashion 1 and 2, types 1


@pytest.fixture(scope="session")
def models_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of the recording."""
    path = tmp_path_factory.mktemp("recorded") / "models.config"
    path.write_text((CONFORMANCE / "models.config").read_text().replace("MODELS", str(CONFORMANCE / "models")))
    return path


@pytest.fixture(scope="session", params=["native", "grpcio"])
def server(
    request: pytest.FixtureRequest, models_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With metrics, health checks, and a small limit on memory. After all attacks its log has no traceback."""
    folder = tmp_path_factory.mktemp(request.param)
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = [f"--grpc_front={request.param}", f"--model_config_file={models_config}"]
    flags += [f"--monitoring_config_file={monitoring}", "--enable_grpc_healthcheck_service"]
    flags += ["--allow_version_labels_for_unavailable_models=true", f"--max_tensor_bytes={64 << 20}"]
    # All versions: what one takes when it loads is no growth by an attack.
    with serving(CONFORMANCE / "models" / "fashion", folder / "log", *flags, versions=VERSIONS) as running:
        yield running
        assert "Traceback" not in running.log_text()
        assert "panic" not in running.log_text()
