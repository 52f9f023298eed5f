"""Counters out of Prometheus text as TensorFlow Serving writes it."""

from __future__ import annotations

from hangtag.playground.metrics import summarize

TEXT = """# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="fashion",status="OK"} 7
:tensorflow:serving:request_count{model_name="fashion",status="INVALID_ARGUMENT"} 2
:tensorflow:serving:request_count{model_name="invented",status="NOT_FOUND"} 1
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="fashion",API="Predict",entrypoint="GRPC",le="10"} 1
:tensorflow:serving:request_latency_bucket{model_name="fashion",API="Predict",entrypoint="GRPC",le="18"} 3
:tensorflow:serving:request_latency_bucket{model_name="fashion",API="Predict",entrypoint="GRPC",le="+Inf"} 4
:tensorflow:serving:request_latency_count{model_name="fashion",API="Predict",entrypoint="GRPC"} 4
:tensorflow:serving:request_latency_bucket{model_name="fashion",API="predict",entrypoint="REST",le="18"} 2
:tensorflow:serving:request_latency_count{model_name="fashion",API="predict",entrypoint="REST"} 3
:tensorflow:serving:request_latency_count{model_name="fashion",API="",entrypoint="REST"} 50
:tensorflow:serving:request_latency_count{model_name="with \\"quotes\\"",API="predict",entrypoint="REST"} 1
:tensorflow:serving:model_warmup_latency_sum{model_path="/models/fashion/1",status="OK"} NaN
nonsense{ } nan
"""


def test_predictions_over_both_protocols_are_added_up():
    assert summarize(TEXT, "fashion") == {
        "models": ["fashion", 'with \\"quotes\\"'],
        "failed": 2,
        "latency": {"count": 7, "buckets": [(10, 1), (18, 5)]},
        "versions": {},
    }


def test_what_the_text_lacks_is_nothing():
    assert summarize("", "fashion")["latency"] == {"count": 0, "buckets": []}


def test_requests_by_version_come_from_hangtag_serve():
    line = ':hangtag:serving:request_count{model_name="fashion",version="3",signature="serving_default"} 5'
    assert summarize(line, "fashion")["versions"] == {"3": 5}
