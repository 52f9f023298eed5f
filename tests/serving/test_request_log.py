"""What is recorded of requests: bounded for any request, and never a reason to wait."""

from __future__ import annotations

import errno
import io
import json
import threading

import pytest

from hangtag_serving import request_log
from hangtag_serving.metrics import Metrics
from hangtag_serving.request_log import Recorder
from support import PATIENCE, eventually


@pytest.fixture(autouse=True)
def _time_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the lines that are being written, however busy the machine is."""
    monkeypatch.setattr(request_log, "_CLOSING_SECONDS", PATIENCE)


def record(recorder: Recorder, model: str = "fashion", code: str = "OK") -> None:
    recorder.answered(model=model, api="Predict", entrypoint="GRPC", code=code, begun=0.0)


def test_names_that_clients_make_up_are_bounded_in_number_and_length():
    recorder = Recorder(Metrics())
    for number in range(5000):
        record(recorder, f"made-up-{number}", "NOT_FOUND")
    record(recorder, "x" * 5_000_000, "NOT_FOUND")
    text = recorder.metrics.text()
    assert len(text) < 200_000
    assert b'{model_name="(other)",status="NOT_FOUND"} 4001' in text


def test_an_access_log_whose_reader_has_ended_ends_alone(caplog):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    recorder = Recorder(Metrics(), access_log=True, stream=Gone())
    for _ in range(2):
        record(recorder)
    recorder.close()
    assert [entry.message for entry in caplog.records] == [
        "the access log cannot be written any more: [Errno 32] Broken pipe"
    ]
    assert b'{model_name="fashion",status="OK"} 2' in recorder.metrics.text()


def test_an_access_log_that_is_not_read_delays_no_request(monkeypatch, caplog):
    """Lines are dropped, which is logged once; when the reader continues, so does the log."""
    monkeypatch.setattr(request_log, "_MAX_LINES", 10)
    gate = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait(60)
            return super().write(text)

    stream = Slow()
    recorder = Recorder(Metrics(), access_log=True, stream=stream)
    for number in range(100):
        record(recorder, f"model-{number}")
    assert [entry.message for entry in caplog.records] == ["the access log is not read fast enough: lines are dropped"]
    gate.set()
    eventually(lambda: "model-5" in stream.getvalue(), "the lines that waited")
    record(recorder, "afterwards")
    recorder.close()
    assert "afterwards" in stream.getvalue()


def test_an_access_log_is_ascii():
    """Any stream can encode that, and no name can write control characters to a terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    recorder = Recorder(Metrics(), access_log=True, stream=stream)
    names = ["鞋", "\x1b[31mred", "a\nFAKE", "x\x9b31m", "\u2028"]
    for name in names:
        record(recorder, name)
    recorder.close()
    lines = stream.buffer.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [json.loads(line)["model"] for line in lines] == names
    assert not any(byte < 32 or byte > 126 for line in lines for byte in line)
