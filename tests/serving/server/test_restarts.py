"""A server that is stopped and started again under load: every request that it has accepted is answered."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest

from hangtag import Client
from hangtag.model import ModelSpec
from hangtag.protocol.grpc_codec import predict_request, read_predict_response
from support import PATIENCE, eventually, free_port, serving

FASHION = Path(__file__).parents[1] / "conformance" / "models" / "fashion"
RESTARTS = int(os.environ.get("HANGTAG_RESTARTS", "1"))
"""More in a long run."""
IMAGES = np.random.default_rng(1).integers(0, 256, (8, 28, 28), dtype=np.uint8)


class Load:
    """Clients that go on until the block ends, and the outcomes of their calls."""

    def __init__(self, grpc_target: str, rest_target: str, expected: np.ndarray) -> None:
        self._grpc, self._rest, self._expected = grpc_target, rest_target, expected
        self.outcomes: Counter[str] = Counter()
        self._over = threading.Event()
        kinds = [self._raw_grpc] * 3 + [self._raw_rest] * 2 + [self._sdk_grpc, self._sdk_rest]
        self._threads = [threading.Thread(target=kind) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(4 * PATIENCE)

    def _count(self, kind: str, scores: np.ndarray) -> None:
        right = np.allclose(scores, self._expected, atol=1e-5)
        self.outcomes[f"{kind}: right" if right else f"{kind}: WRONG"] += 1

    def _raw_grpc(self) -> None:
        body = predict_request(ModelSpec("fashion"), {"images": IMAGES})
        with grpc.insecure_channel(self._grpc, [("grpc.enable_http_proxy", 0)]) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            while not self._over.is_set():
                try:
                    self._count("grpc", read_predict_response(call(body, timeout=PATIENCE)).outputs["probabilities"])
                except grpc.RpcError as error:
                    self.outcomes[f"grpc: {error.code().name}"] += 1
                    self._over.wait(0.02)

    def _raw_rest(self) -> None:
        body = json.dumps({"instances": IMAGES.tolist()})
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection(self._rest, timeout=PATIENCE)
                try:
                    connection.connect()
                except (
                    ConnectionRefusedError,
                    ConnectionResetError,
                ):  # the latter by the kernel, before it was accepted
                    self.outcomes["rest: refused"] += 1
                    connection = None
                    self._over.wait(0.02)
                    continue
            try:
                connection.request("POST", "/v1/models/fashion:predict", body)
                response = connection.getresponse()
                text = response.read()
                if response.status == 200:
                    self._count("rest", np.array(json.loads(text)["predictions"]))
                else:
                    self.outcomes[f"rest: {response.status}"] += 1
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[f"rest: {type(error).__name__}"] += 1
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _sdk(self, kind: str, target: str) -> None:
        with Client(target, timeout=4 * PATIENCE, retries=1000) as client:
            while not self._over.is_set():
                try:
                    self._count(kind, client.predict({"images": IMAGES})["probabilities"])
                except Exception as error:
                    self.outcomes[f"{kind}: {type(error).__name__}: {error}"] += 1
                    self._over.wait(0.1)

    def _sdk_grpc(self) -> None:
        self._sdk("sdk grpc", self._grpc)

    def _sdk_rest(self) -> None:
        self._sdk("sdk rest", f"http://{self._rest}")


@pytest.mark.timeout(2 * PATIENCE * (RESTARTS + 2))
@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_no_request_is_lost_in_restarts_under_load(front, tmp_path):
    """A refused connection is no loss, nor is UNAVAILABLE: the SDK tries these again."""
    ports = free_port(), free_port()
    with ExitStack() as stack:
        load: Load | None = None
        for number in range(RESTARTS + 1):
            log = tmp_path / f"log {number}"
            prestarted = front != "native"  # native is started and ended as users do it
            with serving(FASHION, log, f"--grpc_front={front}", ports=ports, prestarted=prestarted) as server:
                if load is None:
                    with Client(server.rest) as client:
                        expected = client.predict({"images": IMAGES})["probabilities"]
                    load = stack.enter_context(Load(server.grpc, server.rest.removeprefix("http://"), expected))
                seen = load.outcomes.copy()
                for kind in ("grpc", "rest", "sdk grpc", "sdk rest"):
                    enough = seen[f"{kind}: right"] + 20
                    eventually(lambda k=kind, n=enough, o=load.outcomes: o[f"{k}: right"] > n, f"answers over {kind}")
                if number == RESTARTS:
                    stack.close()
                assert server.stop() == 0
                assert "Traceback" not in server.log_text()
    assert load is not None
    allowed = {"grpc: right", "rest: right", "sdk grpc: right", "sdk rest: right", "grpc: UNAVAILABLE", "rest: refused"}
    assert not set(load.outcomes) - allowed, load.outcomes
