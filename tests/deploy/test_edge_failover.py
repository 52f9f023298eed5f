"""A server behind the edge is killed under load."""

from __future__ import annotations

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import numpy as np

from edges import TOKEN, Caller, edge
from hangtag import Client, HangtagError
from hangtag.exchange import Exchange
from hangtag.retry import Deadline, pause_before_retry
from support import PATIENCE, Server, eventually, free_port, serving

RETRIES = 2
"""What the SDK does by itself."""


@dataclass
class Load:
    """Predictions over one connection of each protocol until told to stop, held against what they must say."""

    caller: Caller
    exchanges: list[Exchange]
    expected: np.ndarray
    rounds: int = 0
    retries: int = 0
    failures: list[HangtagError] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                for exchange in self.exchanges:
                    outputs = self._ask(exchange).outputs
                    np.testing.assert_allclose(outputs["probabilities"], self.expected, atol=1e-6)
                self.rounds += 1
        except HangtagError as error:
            self.failures.append(error)

    def _ask(self, exchange: Exchange):
        deadline, attempt = Deadline(30), 0
        while True:
            attempt += 1
            try:
                return self.caller.ask(exchange)
            except HangtagError as error:
                pause = pause_before_retry(error, attempt, RETRIES, deadline)
                self.retries += 1
                time.sleep(pause)


def test_a_server_killed_under_load_costs_no_call(exported, secrets, server, predict, tmp_path):
    """Over both protocols, with the SDK's own retries; when the server is back it is used again."""
    ports = free_port(), free_port()
    flags = f"--port={ports[0]}", f"--rest_api_port={ports[1]}"
    mortal_grpc, mortal_rest = (f"127.0.0.1:{port}" for port in ports)
    rest = server.rest.removeprefix("http://")
    stop = threading.Event()
    with (
        serving(exported, tmp_path / "first", *flags, wait=False) as victim,
        Client(f"http://{mortal_rest}") as direct,
        edge(tmp_path / "nginx", secrets, [mortal_rest, rest], [mortal_grpc, server.grpc]) as running,
        ThreadPoolExecutor(4) as pool,
    ):
        direct.wait_ready(PATIENCE)
        expected = direct_answer(server, predict["grpc"])
        loads = [Load(running.caller(TOKEN), list(predict.values()), expected) for _ in range(4)]
        work = [pool.submit(load.run, stop) for load in loads]

        def rounds(more: int) -> None:
            goals = [load.rounds + more for load in loads]
            eventually(
                lambda: (
                    any(one.done() for one in work)
                    or all(load.rounds >= goal for load, goal in zip(loads, goals, strict=True))
                ),
                f"{more} more rounds",
            )

        try:
            rounds(20)
            assert victim.stop(signal.SIGKILL) == -signal.SIGKILL
            rounds(40)
            died = len(running.said())
            with serving(exported, tmp_path / "again", *flags, wait=False):
                for address in (mortal_grpc, mortal_rest):
                    answered = re.compile(rf'" 200 \d+ [\d.]+ {address}$', re.MULTILINE)
                    eventually(lambda it=answered: it.search(running.said(), died), f"{address} to be used again")
        finally:
            stop.set()
        for one in work:
            one.result()
        for load in loads:
            load.caller.close()
    assert [load.failures for load in loads] == [[]] * len(loads)
    # The one that was refused went to the other server.
    assert f"{mortal_grpc}, {server.grpc}\n" in running.said()
    assert f"{mortal_rest}, {rest}\n" in running.said()


def direct_answer(server: Server, exchange: Exchange) -> np.ndarray:
    """What the server itself says, without an edge."""
    with grpc.insecure_channel(server.grpc) as channel:
        return exchange.answer(channel.unary_unary(exchange.path)(exchange.body)).outputs["probabilities"]
