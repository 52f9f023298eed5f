"""`hangtag bench` as a user runs it, and the loops that it is made of."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from fake_server import FIRST_PIXEL, Model, Refused, model_server
from hangtag import Client
from hangtag.cli import bench
from hangtag.cli.main import main
from support import PATIENCE, free_port, run, with_more_time


def test_bench_measures_closed_and_open_loops(server):
    def steps(duration: float) -> list[dict] | None:
        """Unless no answer came in this time."""
        flags = ["--concurrency=1,4", f"--duration={duration}", "--warm-up=0.1", "--batch-size=8"]
        done = run("bench", "--target", server.grpc, "--json", *flags)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(found) == 2, done.stderr
        return found if done.returncode == 0 and all(step["requests"] for step in found) else None

    one, four = with_more_time(steps, 0.3)
    assert (one["concurrency"], four["concurrency"]) == (1, 4)
    for step in (one, four):
        assert step["loop"] == "closed"
        assert step["images"] == 8 * step["requests"] > 0
        assert 0 < step["p50_ms"] <= step["p95_ms"] <= step["p99_ms"]
        assert step["errors"] == {}
    done = run("bench", "--target", server.rest, "--json", "--rate=20", "--duration=0.5", "--warm-up=0")
    (step,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (step["loop"], step["rate"], step["requests"] + step["unsent"]) == ("open", 20, 10)


def test_bench_prints_a_table_and_counts_errors_by_kind(server, images, tmp_path):
    np.save(tmp_path / "all.npy", images[:600])

    def measured(duration: float) -> list[str] | None:
        """Unless no answer came in this time."""
        flags = ["--batch-size=512", "--concurrency=1", f"--duration={duration}", "--warm-up=0"]
        done = run("bench", "--target", server.grpc, f"--images={tmp_path / 'all.npy'}", *flags)
        assert done.returncode == 0 or " 0 " in done.stdout, done.stderr
        return done.stdout.splitlines() if done.returncode == 0 else None

    head, row = with_more_time(measured, 0.2)
    assert head.split()[:3] == ["loop", "callers", "req/s"]
    assert row.split()[:2] == ["closed", "1"]
    assert row.endswith("none")


def test_errors_in_an_open_loop_are_counted_by_kind():
    def hook(number: int) -> None:
        if number % 3 == 0:
            raise Refused("INTERNAL", "out of memory")

    pictures = np.zeros((4, 28, 28), np.uint8)
    model = Model(FIRST_PIXEL, hook=hook)
    with model_server(model, "grpc") as target, Client(target, retries=0, labels=["x"] * 10) as client:

        def begun(seconds: float) -> bench.Step | None:
            """Thirty requests; None if no caller began before the end."""
            step = bench.open_loop(
                lambda: client.classify(pictures), rate=30 / seconds, concurrency=2, seconds=seconds, images=4
            )
            return step if model.predicts else None

        step = with_more_time(begun, 0.15)
    assert step.requests + step.errors["ServerError"] + step.unsent == 30
    assert step.errors == {"ServerError": -(-model.predicts // 3)}
    assert step.images == 4 * step.requests


WRONG = {
    "--concurrency": ["0", "x", "1.5", "inf", "nan", "1e12"],
    "--rate": ["-1", "inf", "nan", "1e12", "1e308"],
    "--duration": ["0", "inf", "nan", "1e300"],
    "--warm-up": ["-1", "inf", "nan"],
    "--batch-size": ["0"],
}


@pytest.mark.parametrize("setting", [f"{flag}={value}" for flag, values in WRONG.items() for value in values])
def test_bench_refuses_settings_that_cannot_be_right(capsys, setting):
    """Before any request is sent."""
    assert main(["bench", "--target", f"127.0.0.1:{free_port()}", setting]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert setting.split("=")[0] in line


def test_an_open_loop_past_what_the_server_can_do_ends_in_time_and_counts_what_was_not_sent():
    """The one caller waits for an answer until the step is over; all other requests are left."""

    def begun(seconds: float) -> bench.Step | None:
        """None if the caller did not begin before the end."""
        step = bench.open_loop(
            lambda: time.sleep(2 * seconds), rate=1e5 / seconds, concurrency=1, seconds=seconds, images=1
        )
        return step if step.requests else None

    step = with_more_time(begun, 0.1)
    assert (step.requests, step.unsent) == (1, 99_999)
    (_, row) = bench.table(iter([step]))
    assert row.endswith("99,999 not sent")


@pytest.mark.parametrize("flags", [["--concurrency=2"], ["--rate=50"]], ids=["closed", "open"])
def test_an_interrupt_ends_a_step(flags):
    """Though a request is under way that the server does not answer."""
    asked, may_answer = threading.Event(), threading.Event()

    def hook(number: int) -> None:
        if number:  # the first is the look whether it can be sent
            asked.set()
            may_answer.wait(PATIENCE)

    with model_server(Model(FIRST_PIXEL, hook=hook), "grpc") as target:
        command = ["hangtag", "bench", "--target", target, "--duration=600", "--warm-up=0", "--timeout=600", *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
        may_answer.set()
    assert (process.returncode, errors) == (130, "hangtag: interrupted\n")


def test_bench_without_a_server_is_one_sentence():
    done = run("bench", "--target", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr.startswith("hangtag: no answer from 127.0.0.1:")
