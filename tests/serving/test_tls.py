"""TLS and mutual TLS of the embedded server's gRPC port, with --ssl_config_file, with the unchanged SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from edges import Certificates
from hangtag import TLS, Client, ServerUnavailable
from support import PATIENCE, ROOT, Server, run, serving

FASHION = Path(__file__).parent / "conformance" / "models" / "fashion"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of the server, of a client, and of a client that another authority signed."""
    folder = tmp_path_factory.mktemp("secrets")
    Certificates(folder)
    return folder


def ssl_config(secrets: Path, file: Path, *, clients: str = "") -> Path:
    """An SSLConfig in text form, with the PEM texts inside, as the C++ server takes it."""
    fields = {"server_key": "tls.key", "server_cert": "tls.crt", **({"custom_ca": clients} if clients else {})}
    lines = [f"{field}: {(secrets / name).read_text()!r}" for field, name in fields.items()]
    file.write_text("\n".join([*lines, f"client_verify: {'true' if clients else 'false'}"]))
    return file


@pytest.fixture(scope="module")
def servers(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One with TLS, one that requires clients' certificates as well; they start side by side."""
    folder = tmp_path_factory.mktemp("tls")
    configs = {
        "tls": ssl_config(secrets, folder / "tls.config"),
        "mutual": ssl_config(secrets, folder / "mutual.config", clients="ca.crt"),
    }
    flags = {name: f"--ssl_config_file={file}" for name, file in configs.items()}
    with (
        serving(FASHION, folder / "tls.log", flags["tls"], wait=False) as tls,
        serving(FASHION, folder / "mutual.log", flags["mutual"], "--enable_grpc_healthcheck_service") as mutual,
        Client(tls.rest) as client,
    ):
        client.wait_ready(PATIENCE)
        yield {"tls": tls, "mutual": mutual}


def version(server: Server, tls: TLS | None, scheme: str = "grpcs://", retries: int = 2) -> int | None:
    """The version that answers; REST, which has no TLS of its own, is not asked."""
    with Client(scheme + server.grpc, tls=tls, timeout=60, retries=retries) as client:
        return client.metadata().version


def shown(secrets: Path, name: str) -> TLS:
    return TLS(ca=secrets / "ca.crt", certificate=secrets / f"{name}.crt", key=secrets / f"{name}.key")


def test_the_sdk_reaches_it_with_the_authority_alone(servers, secrets):
    assert version(servers["tls"], TLS(ca=secrets / "ca.crt")) == 3


def test_with_mutual_tls_the_client_shows_its_certificate(servers, secrets):
    assert version(servers["mutual"], shown(secrets, "client")) == 3


def test_health_is_watched_through_it(servers, secrets):
    """By grpcio, which carries TLS; the compiled front's health has a test of its own."""
    ca, certificate, key = shown(secrets, "client").read()
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(servers["mutual"].grpc, credentials) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=60) == b"\x08\x01"
        watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
        assert next(watched) == b"\x08\x01"
        watched.cancel()


@pytest.mark.parametrize("who", ["nobody", "unknown"])
def test_mutual_tls_refuses_other_clients(servers, secrets, who):
    """Without a certificate, or with one that the authority did not sign."""
    tls = TLS(ca=secrets / "ca.crt") if who == "nobody" else shown(secrets, who)
    with pytest.raises(ServerUnavailable):
        version(servers["mutual"], tls, retries=0)


def test_a_server_that_the_client_cannot_trust_gets_no_call(servers, secrets):
    with pytest.raises(ServerUnavailable):
        version(servers["tls"], TLS(ca=secrets / "unknown.crt"), retries=0)


def test_a_client_without_tls_is_refused(servers):
    with pytest.raises(ServerUnavailable):
        version(servers["tls"], None, scheme="", retries=0)


def test_an_ssl_config_that_would_verify_no_client_is_refused(secrets, tmp_path):
    """client_verify without an authority to verify by; and one without a key."""
    file = ssl_config(secrets, tmp_path / "ssl.config")
    file.write_text(file.read_text().replace("client_verify: false", "client_verify: true"))
    done = run("serve", f"--ssl_config_file={file}", cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "has client_verify and no custom_ca: give the authority that signs clients"
    )
    file.write_text("server_cert: 'x'")
    assert "lacks server_key or server_cert" in run("serve", f"--ssl_config_file={file}").stderr
