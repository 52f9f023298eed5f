"""The edge as shipped, nginx before a real server: who gets in and what gets through."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from edges import DIALECTS, OTHER, SPEC, TOKEN, Caller, Edge, both, edge, new_token
from hangtag import TLS, Client, HangtagError, InvalidInput
from hangtag.model import ModelSpec
from support import ROOT, eventually

PREDICTION, MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"


@pytest.fixture(scope="module")
def open_edge(secrets, server, tmp_path_factory) -> Iterator[Edge]:
    """The edge before one embedded server."""
    rest = server.rest.removeprefix("http://")
    with edge(tmp_path_factory.mktemp("edge") / "nginx", secrets, [rest], [server.grpc]) as running:
        yield running


@pytest.fixture(scope="module")
def mutual_edge(secrets, server, tmp_path_factory) -> Iterator[Edge]:
    """The same, with certificates asked of clients."""
    rest = server.rest.removeprefix("http://")
    with edge(tmp_path_factory.mktemp("edge") / "nginx", secrets, [rest], [server.grpc], tls="mutual") as running:
        yield running


@pytest.fixture
def alice(open_edge) -> Iterator[Caller]:
    with open_edge.caller(TOKEN) as caller:
        yield caller


# ---- who gets in


@both
def test_both_protocols_go_through_one_tls_port(alice, predict, protocol, server, images):
    with Client(server.grpc) as client:
        expected = client.classify(images[:32]).probabilities
    np.testing.assert_allclose(alice.ask(predict[protocol]).outputs["probabilities"], expected, atol=1e-6)
    assert alice.ask(DIALECTS[protocol].metadata(ModelSpec("fashion"))).version == 1
    (status,) = alice.ask(DIALECTS[protocol].status(ModelSpec("fashion")))
    assert status.state == "AVAILABLE"


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_the_sdk_goes_through_it_as_it_is(open_edge, mutual_edge, scheme):
    """With the authority as `tls`, the token as a header, and a certificate where one is asked for."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    secrets = open_edge.secrets
    shown = TLS(ca=secrets / "ca.crt", certificate=secrets / "client.crt", key=secrets / "client.key")
    for running, tls in ((open_edge, TLS(ca=secrets / "ca.crt")), (mutual_edge, shown)):
        with Client(f"{scheme}://localhost:{running.port}", tls=tls, headers=headers) as client:
            assert client.classify(ROOT / "docs/images/ankle-boot.png").labels[0] == "Ankle boot"


@both
@pytest.mark.parametrize("token", [None, new_token()], ids=["missing", "wrong"])
def test_the_edge_refuses_calls_without_a_known_token(open_edge, predict, protocol, token):
    with open_edge.caller(token) as unknown:
        with pytest.raises(HangtagError, match="requires a token that it knows") as caught:
            unknown.ask(predict[protocol])
        assert caught.value.code == "UNAUTHENTICATED"
        answer = unknown.http("GET", "/v1/models/fashion")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_plain_http_is_refused(open_edge):
    with open_edge.caller(TOKEN) as caller:
        caller.url = caller.url.replace("https", "http")
        answer = caller.http("GET", "/v1/models/fashion")
    assert answer.status_code == 400
    assert answer.json() == {"error": "the edge could not read the request"}


@both
def test_mutual_tls_requires_a_certificate_and_a_token(mutual_edge, predict, protocol):
    with mutual_edge.caller(TOKEN, "client") as caller:
        assert caller.ask(predict[protocol]).outputs["probabilities"].shape == (32, 10)
    with mutual_edge.caller(None, "client") as caller, pytest.raises(HangtagError, match="requires a token"):
        caller.ask(predict[protocol])
    with mutual_edge.caller(TOKEN) as caller:
        with pytest.raises(HangtagError, match="requires a client certificate") as caught:
            caller.ask(predict[protocol])
        assert caught.value.code == "PERMISSION_DENIED"
    with mutual_edge.caller(TOKEN, "unknown") as caller, pytest.raises(HangtagError, match="requires a client cert"):
        caller.ask(predict[protocol])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The secrets that `make secrets` makes, at their place under a root of their own."""
    root = tmp_path_factory.mktemp("root")
    (root / "serving" / "docker").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "images", root / "docs" / "images")
    script = shutil.copy(ROOT / "serving" / "docker" / "make-secrets.sh", root / "serving" / "docker")
    subprocess.run([script], check=True, capture_output=True)
    return root / "serving" / "docker" / "secrets"


def test_it_starts_with_what_make_secrets_made(made, server, tmp_path):
    """With its longer token line, its certificates and mutual TLS; a token added later counts after a reload."""
    token = (made / "tokens.map").read_text().split('"')[1].removeprefix("Bearer ")
    rest = server.rest.removeprefix("http://")
    with (
        edge(tmp_path / "nginx", made, [rest], [server.grpc], tls="mutual") as running,
        running.caller(token, "client") as me,
        running.caller(OTHER, "client") as other,
    ):
        for caller in (me, other):
            caller.headers["Connection"] = "close"  # a kept one may be closed by the reload just when it is used
        assert me.http("GET", "/v1/models/fashion").status_code == 200
        assert other.http("GET", "/v1/models/fashion").status_code == 401
        with (made / "tokens.map").open("a") as file:
            file.write(f'"Bearer {OTHER}" other;\n')
        running.reload()
        eventually(lambda: other.http("GET", "/v1/models/fashion").status_code == 200, "the new token to count")
        assert me.http("GET", "/v1/models/fashion").status_code == 200


@pytest.mark.parametrize("tls", ["server", "mutual"])
def test_the_calls_in_the_guide_run(made, server, tmp_path, tls):
    """All of docs/how-to/edge.md that needs no Docker; the Mutual TLS part with an edge that requires it."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    text = (ROOT / "docs" / "how-to" / "edge.md").read_text()
    parts = {part.split("\n")[0]: part for part in text.split("\n## ")}
    chosen = [parts["Mutual TLS"]] if tls == "mutual" else [parts["Call it"], parts["Tokens"]]
    rest = server.rest.removeprefix("http://")
    done = []
    with edge(tmp_path / "nginx", made, [rest], [server.grpc], tls=tls) as running:
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", "\n".join(chosen), re.MULTILINE | re.DOTALL):
            lines = [line for line in code.splitlines() if "docker compose" not in line and "compose.sh" not in line]
            code = "\n".join(lines).replace("8443", str(running.port)).replace("curl", "curl --silent --fail-with-body")
            command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
            done.append(subprocess.run(command, cwd=made.parents[2], capture_output=True, text=True, check=False))
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * (1 if tls == "mutual" else 3)
    assert '"state": "AVAILABLE"' in done[0].stdout
    if tls == "server":
        assert done[1].stdout == "['Ankle boot']\n"


# ---- what gets through


@pytest.mark.parametrize(
    "method",
    [
        MODEL + "HandleReloadConfigRequest",
        "/tensorflow.serving.SessionService/SessionRun",
        "/tensorflow.ProfilerService/Profile",
        PREDICTION + "Nope",
        PREDICTION + "../tensorflow.serving.ModelService/HandleReloadConfigRequest",
        MODEL + "HandleReloadConfigReques%74",
    ],
)
def test_methods_that_change_or_watch_the_server_are_refused(alice, method):
    with pytest.raises(grpc.RpcError, match="predictions, metadata and status") as caught:
        alice.grpc(method)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("PUT", "/v1/models/fashion:predict", 405),
        ("DELETE", "/v1/models/fashion", 405),
        ("GET", "/monitoring/prometheus/metrics", 404),
        ("GET", "/v1/models/../../monitoring/prometheus/metrics", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/token", 404),
        ("GET", "/refused/rest", 404),
        ("GET", "/", 404),
    ],
)
def test_other_verbs_and_paths_are_refused(alice, verb, path, status):
    answer = alice.http(verb, path)
    assert answer.status_code == status
    assert "nothing else" in answer.json()["error"]


@both
def test_a_request_over_the_limit_says_so(alice, protocol):
    exchange = DIALECTS[protocol].status(SPEC)._replace(method="POST", body=bytes(65 << 20))
    with pytest.raises(InvalidInput, match=r"larger than the 64 MB .* send fewer images") as caught:
        alice.ask(exchange)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert alice.ask(DIALECTS[protocol].status(ModelSpec("fashion")))  # the next one is none the worse


@both
def test_errors_of_the_server_come_through_as_they_are(alice, protocol):
    with pytest.raises(HangtagError) as caught:
        alice.ask(DIALECTS[protocol].metadata(ModelSpec("nope")))
    assert caught.value.code == "NOT_FOUND"
    assert "edge lets" not in str(caught.value)
