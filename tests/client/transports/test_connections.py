"""How the server is reached: TLS, unix sockets, replicas, gzip, channels and sessions of the caller's own."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import grpc
import numpy as np
import pytest
import trustme
from grpc import aio

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from faulty_proxy import proxy
from hangtag import TLS, AsyncClient, Client, InvalidInput, ServerUnavailable
from hangtag.config.target import parse_target
from hangtag.transports.grpc import channel_options
from sample_images import PICTURES
from support import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> dict[str, str]:
    """PEM files: a certificate authority, a server's and a client's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    server, client = ca.issue_cert("localhost", "127.0.0.1"), ca.issue_cert("client@example.org")
    files = {name: str(folder / f"{name}.pem") for name in ("ca", "server", "server_key", "client", "client_key")}
    ca.cert_pem.write_to_path(files["ca"])
    for name, issued in (("server", server), ("client", client)):
        Path(files[name]).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files[f"{name}_key"])
    return files


@pytest.fixture(params=["plain", "mutual"])
def demanding(request: pytest.FixtureRequest) -> bool:
    """Whether the server requires a certificate of the client."""
    return request.param == "mutual"


def test_tls_over_grpc(authority, kind, demanding):
    pair = (Path(authority["server_key"]).read_bytes(), Path(authority["server"]).read_bytes())
    root = Path(authority["ca"]).read_bytes() if demanding else None
    credentials = grpc.ssl_server_credentials([pair], root, demanding)
    ours = {"certificate": authority["client"], "key": authority["client_key"]} if demanding else {}
    with model_server(Model(FIRST_PIXEL), "grpc", credentials=credentials) as target:
        with opened(kind, f"grpcs://{target}", tls=TLS(authority["ca"], **ours)) as client:
            assert client.classify(PICTURES[:1]).indices.tolist() == [0]
        for other in [None] + ([TLS(authority["ca"])] if demanding else []):
            with (
                opened(kind, f"grpcs://{target}", tls=other, retries=0) as client,
                pytest.raises(ServerUnavailable),
            ):
                client.labels()


def test_tls_over_rest(authority, kind, demanding):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority["ca"])
    context.load_cert_chain(authority["server"], authority["server_key"])
    context.verify_mode = ssl.CERT_REQUIRED if demanding else ssl.CERT_NONE
    ours = {"certificate": authority["client"], "key": authority["client_key"]} if demanding else {}
    with model_server(Model(FIRST_PIXEL), "rest", context=context) as target:
        assert target.startswith("https://")
        with opened(kind, target, tls=TLS(authority["ca"], **ours)) as client:
            assert client.classify(PICTURES[:1]).indices.tolist() == [0]
        for other in [None] + ([TLS(authority["ca"])] if demanding else []):
            with opened(kind, target, tls=other, retries=0) as client, pytest.raises(ServerUnavailable):
                client.labels()


def test_tls_arguments_that_cannot_be_right(kind, protocol, tmp_path):
    with pytest.raises(InvalidInput, match="a certificate and its key"):
        TLS(certificate="client.pem")
    with pytest.raises(InvalidInput, match="not encrypted"), opened(kind, "http://localhost:1", tls=TLS()):
        pass
    target = "grpcs://localhost:1" if protocol == "grpc" else "https://localhost:1"
    missing = pytest.raises(InvalidInput, match=r"cannot read .*none.pem: No such file")
    with opened(kind, target, tls=TLS(tmp_path / "none.pem")) as client, missing:
        client.labels()


def test_a_unix_socket(kind, tmp_path):
    address = f"unix:{tmp_path / 'serving.sock'}"
    with model_server(Model(FIRST_PIXEL), "grpc", address=address), opened(kind, address) as client:
        assert client.classify(PICTURES).indices.tolist() == (np.arange(30) % 10).tolist()


def test_a_name_with_several_addresses_is_called_in_turn(kind):
    replicas = [Model(FIRST_PIXEL), Model(FIRST_PIXEL)]
    with (
        model_server(replicas[0], "grpc") as one,
        model_server(replicas[1], "grpc") as other,
        opened(kind, f"ipv4:{one},{other}", batch_size=1, timeout=60) as client,
    ):

        def both_answer() -> bool:  # until both connections are made, one may answer alone
            assert len(client.classify(PICTURES)) == 30
            return min(replica.predicts for replica in replicas) > 0

        eventually(both_answer, "calls at both")


def test_a_dns_name(kind):
    with model_server(Model(FIRST_PIXEL), "grpc") as target, opened(kind, _by_dns(target)) as client:
        assert client.classify(PICTURES[:3]).indices.tolist() == [0, 1, 2]


def _by_dns(target: str) -> str:
    return f"dns:///localhost:{target.rsplit(':', 1)[1]}"


def test_gzip_above_a_size(kind):
    model = Model(FIRST_PIXEL)
    with (
        model_server(model, "rest") as target,
        opened(kind, target, gzip_above=3000, labels=list("abcdefghij")) as client,
    ):
        assert client.classify(PICTURES[:1]).indices.tolist() == [0]
        assert client.classify(PICTURES[:8]).indices.tolist() == list(range(8))
    small, large = model.requests[-2:]
    assert "content-encoding" not in small
    assert large["content-encoding"] == "gzip"
    assert int(large["content-length"]) < 3000


def test_connections_are_kept_alive(protocol, kind):
    """Twenty calls of one client use one connection."""
    with (
        model_server(Model(FIRST_PIXEL), protocol) as upstream,
        proxy(upstream) as (passing, target),
        opened(kind, target) as client,
    ):
        for _ in range(20):
            client.classify(PICTURES[:1])
        assert passing.connections == 1


def test_a_channel_of_the_callers_own_is_used_and_left_open(server):
    with grpc.insecure_channel(server.grpc) as channel:
        for _ in range(2):
            with Client("elsewhere:1", channel=channel, timeout=60) as client:
                assert client.labels()[9] == "Ankle boot"

    async def main() -> None:
        async with aio.insecure_channel(server.grpc) as channel, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with AsyncClient("elsewhere:1", channel=channel, timeout=60) as client:
                    assert (await client.labels())[9] == "Ankle boot"
                async with AsyncClient(server.rest, session=session, timeout=60) as client:
                    assert (await client.labels())[9] == "Ankle boot"

    asyncio.run(main())


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"a b": "c"}, {"": "c"}, {"x": "\u00e9"}])
def test_headers_that_cannot_be_sent_are_refused_without_showing_the_value(kind, protocol, headers):
    target = "localhost:1" if protocol == "grpc" else "http://localhost:1"
    with pytest.raises(InvalidInput, match="cannot be sent") as caught, opened(kind, target, headers=headers):
        pass
    assert not any(value in str(caught.value) for value in headers.values() if value != "c")


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(server, kind, protocol, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
    with opened(kind, server.target(protocol), timeout=60) as client:
        assert client.ready()


def test_a_proxy_in_the_environment_carries_calls_to_other_machines(kind, monkeypatch):
    """Whose name this machine cannot even look up."""
    model = Model(FIRST_PIXEL)
    with model_server(model, "rest") as proxy_address:
        monkeypatch.setenv("http_proxy", proxy_address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with opened(kind, "http://models.invalid:8501", version=1) as client:
            assert client.classify(PICTURES[:3]).indices.tolist() == [0, 1, 2]
    assert model.requests[-1]["host"] == "models.invalid:8501"


def test_several_addresses_have_one_authority():
    """The whole list is no host and port: the compiled front of `hangtag serve` resets a stream that has it."""
    for target, authority in {
        "ipv4:127.0.0.1:8500,127.0.0.1:8510": "127.0.0.1:8500",
        "ipv6:[::1]:8500,[::1]:8510": "[::1]:8500",
    }.items():
        assert dict(channel_options(parse_target(target)))["grpc.default_authority"] == authority
    assert "grpc.default_authority" not in dict(channel_options(parse_target("localhost:8500")))


def test_a_large_request_over_asyncio_warns_of_nothing(recwarn):
    """aiohttp warns of bodies of more than 1 MiB that are bytes."""
    images = np.tile(PICTURES, (20, 1, 1))
    with model_server(Model(FIRST_PIXEL), "rest") as target, opened("async", target, batch_size=600) as client:
        assert client.classify(images).indices.tolist() == (np.arange(600) % 30 % 10).tolist()
    assert not [one for one in recwarn.list if "large body" in str(one.message)]
