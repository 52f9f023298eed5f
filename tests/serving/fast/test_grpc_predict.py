"""The fast path of gRPC: calls that arrive together share runs, and none of them can tell."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from hangtag.model import ModelSpec
from hangtag.optional import require
from hangtag.protocol.grpc_codec import predict_request, read_predict_response
from hangtag_serving.fast.request_templates import RequestTemplates
from serving_metrics import metric, monitoring
from support import PATIENCE, Server, eventually, serving

PREDICT = "/tensorflow.serving.PredictionService/Predict"
MODELS = Path(__file__).parents[1] / "conformance" / "models"


def save_awkward(folder: Path) -> None:
    """Signatures that must not be run for several calls at once, and one of two inputs, one of which has a default."""
    tf = require("tensorflow", extra="serving", what="the test")
    rows = tf.TensorSpec([None, 8], tf.float32, name="x")

    class Awkward(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0, dtype=tf.int64)

        @tf.function(input_signature=[rows, tf.TensorSpec([], tf.float32, name="scale")])
        def scaled(self, x, scale):
            return {"y": x * scale}

        @tf.function(input_signature=[rows])
        def padded(self, x):
            return {"y": tf.ragged.boolean_mask(x, x > 1.5).to_tensor()}  # as wide as its longest row

        @tf.function(input_signature=[rows])
        def counted(self, x):
            return {"n": tf.cast(tf.fill([tf.shape(x)[0]], self.count.assign_add(1)), tf.float32)}

    module = Awkward()
    signatures = {"serving_default": module.scaled, "padded": module.padded, "counted": module.counted}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    pb = require("tensorflow.core.protobuf.saved_model_pb2", extra="serving", what="the test")
    saved = pb.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    defaults = saved.meta_graphs[0].signature_def["serving_default"].defaults
    defaults["scale"].CopyFrom(tf.make_tensor_proto(2.0, tf.float32))
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("awkward")
    save_awkward(folder / "1")
    with serving(folder, folder / "log", "--model_name=awkward", monitoring(folder), model="awkward") as server:
        yield server


def at_once(server: Server, signature: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The only output for each array, all sent before the first answer is looked at."""
    with grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(PREDICT)
        spec = ModelSpec("awkward", None, None, signature)
        futures = [call.future(predict_request(spec, {"x": array}), timeout=PATIENCE) for array in arrays]
        replies = [read_predict_response(future.result()) for future in futures]
    return [next(iter(reply.outputs.values())) for reply in replies]


@pytest.fixture(params=["native", "grpcio"])
def fashion(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


def call_often(server: Server) -> None:
    """128 calls of one image, all sent before the first answer is read. Returns when all are counted."""

    def counted() -> float:
        return metric(server, ":tensorflow:serving:request_latency_count", API="Predict", entrypoint="GRPC")

    before = counted()
    with grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(PREDICT)
        request = predict_request(ModelSpec("fashion"), {"images": np.zeros((1, 28, 28), np.uint8)})
        for future in [call.future(request, timeout=PATIENCE) for _ in range(128)]:
            assert read_predict_response(future.result()).outputs["probabilities"].shape == (1, 10)
    eventually(lambda: counted() >= before + 128, "all calls to be counted")  # the fast path answers first


def test_calls_like_an_earlier_one_are_not_parsed(fashion):
    call_often(fashion)  # the first of them makes the template
    before = metric(fashion, ":hangtag:serving:fast_request_count", entrypoint="GRPC")
    call_often(fashion)
    assert metric(fashion, ":hangtag:serving:fast_request_count", entrypoint="GRPC") == before + 128


def test_calls_that_arrive_together_share_runs(fashion):
    before = metric(fashion, ":hangtag:serving:burst_rows_count")

    def shared() -> bool:
        call_often(fashion)
        return metric(fashion, ":hangtag:serving:burst_rows_count") > before

    eventually(shared, "a run for several calls")


def test_without_fast_paths_no_call_takes_one(plain):
    before = metric(plain, ":tensorflow:serving:request_count", model_name="fashion")
    for _ in range(2):
        call_often(plain)
    assert metric(plain, ":tensorflow:serving:request_count", model_name="fashion") >= before + 256
    assert metric(plain, ":hangtag:serving:fast_request_count") == 0
    assert metric(plain, ":hangtag:serving:burst_rows_count") == 0


def row(high: int) -> np.ndarray:
    """One row whose first `high` numbers are 2, the others 0."""
    return np.where(np.arange(8) < high, 2, 0).astype(np.float32)[np.newaxis]


def test_an_input_left_to_its_default_is_filled_in_for_each_of_many_calls(awkward):
    for _ in range(3):
        for array in at_once(awkward, "serving_default", [row(3)] * 40):
            np.testing.assert_array_equal(array, 2 * row(3))


def test_a_signature_that_pads_or_counts_never_shares_a_run(awkward):
    for _ in range(4):
        found = at_once(awkward, "padded", [row(1), row(3)] * 16)
        assert [array.tolist() for array in found] == [[[2.0]], [[2.0, 2.0, 2.0]]] * 16
    for _ in range(4):
        at_once(awkward, "counted", [row(1)] * 32)
    assert at_once(awkward, "counted", [row(1)])[0].tolist() == [129.0], "a run for each call, and none besides"


def test_a_call_that_waits_for_a_batch_does_not_stop_others(tmp_path):
    """It waits until another call fills its batch."""
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 2 } batch_timeout_micros { value: 3600000000 }")
    flags = ["--enable_batching", f"--batching_parameters_file={parameters}", monitoring(tmp_path)]
    with (
        serving(MODELS / "fashion", tmp_path / "log", *flags) as server,
        ThreadPoolExecutor(1) as pool,
        requests.Session() as session,
    ):
        url = f"{server.rest}/v1/models/fashion"
        body = {"instances": np.zeros((1, 28, 28), int).tolist()}
        waiting = pool.submit(requests.post, f"{url}:predict", json=body, timeout=PATIENCE)
        eventually(lambda: metric(server, ":hangtag:serving:batching_queue_rows") == 1, "the call to wait")
        for _ in range(20):
            session.get(url, timeout=PATIENCE).raise_for_status()
        assert not waiting.done()
        assert session.post(f"{url}:predict", json=body, timeout=PATIENCE).status_code == 200
        assert waiting.result().status_code == 200


def test_names_that_clients_make_up_are_counted_as_one(recorded):
    with grpc.insecure_channel(recorded.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        for number in range(3):
            request = predict_request(ModelSpec("fashion", None, None, f"made-up-{number}"), {})
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(PREDICT)(request, timeout=60)
    metrics = requests.get(f"{recorded.rest}/monitoring/prometheus/metrics", timeout=60).text
    assert "made-up" not in metrics
    assert 'signature="(unknown)"' in metrics


def test_templates_are_bounded_in_number():
    """The oldest one is replaced."""
    templates, spec = RequestTemplates(), ModelSpec("fashion")
    bodies = [predict_request(spec, {"images": np.zeros((n, 28, 28), np.uint8)}) for n in range(1, 400)]
    for body in bodies:
        templates.learn(body)
    assert templates.find(bodies[-1]) is not None
    assert templates.find(bodies[0]) is None
