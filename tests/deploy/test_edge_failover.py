"""A server behind the edge is killed under load; the callers use the unchanged SDK."""

from __future__ import annotations

import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from edges import TOKEN, edge
from hangtag import TLS, Client, HangtagError
from support import PATIENCE, eventually, free_port, serving

CALLERS = 4


@dataclass
class Load:
    """Classifies the same images by each client in turn until `stop` is set; compares answers with `expected`."""

    clients: list[Client]
    images: np.ndarray
    expected: np.ndarray
    rounds: int = 0
    failures: list[HangtagError] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                for client in self.clients:
                    found = client.classify(self.images).probabilities
                    np.testing.assert_allclose(found, self.expected, atol=1e-6)
                self.rounds += 1
        except HangtagError as error:
            self.failures.append(error)


def test_a_server_killed_under_load_costs_no_call(exported, secrets, server, images, tmp_path):
    """Over both protocols, with the SDK's own retries; when the server is back it is used again."""
    ports = free_port(), free_port()
    flags = f"--port={ports[0]}", f"--rest_api_port={ports[1]}"
    mortal_grpc, mortal_rest = (f"127.0.0.1:{port}" for port in ports)
    rest = server.rest.removeprefix("http://")
    with Client(server.grpc) as alone:
        expected = alone.classify(images[:32]).probabilities
    options = {"tls": TLS(ca=secrets / "ca.crt"), "headers": {"Authorization": f"Bearer {TOKEN}"}}
    stop = threading.Event()
    with (
        serving(exported, tmp_path / "first", *flags, wait=False) as victim,
        Client(f"http://{mortal_rest}") as direct,
        edge(tmp_path / "nginx", secrets, [mortal_rest, rest], [mortal_grpc, server.grpc]) as running,
        ExitStack() as opened,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        direct.wait_ready(PATIENCE)
        targets = f"grpcs://localhost:{running.port}", f"https://localhost:{running.port}"
        loads = [
            Load([opened.enter_context(Client(target, **options)) for target in targets], images[:32], expected)
            for _ in range(CALLERS)
        ]
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
            rounds(5)
            assert victim.stop(signal.SIGKILL) == -signal.SIGKILL
            rounds(10)
            # A request that the dead server refuses goes to the other one. After three requests cut by the death
            # itself, nginx asks the dead server only once its `fail_timeout` is over.
            for refused in (f"{mortal_grpc}, {server.grpc}\n", f"{mortal_rest}, {rest}\n"):
                eventually(lambda it=refused: it in running.log_text(), f"a request that went {refused!r}")
            died = len(running.log_text())
            with serving(exported, tmp_path / "again", *flags, wait=False):
                for address in (mortal_grpc, mortal_rest):
                    answered = re.compile(rf'" 200 \d+ [\d.]+ {address}$', re.MULTILINE)
                    eventually(lambda it=answered: it.search(running.log_text(), died), f"{address} to be used again")
                stop.set()  # before this server stops: that its calls are tried elsewhere then is no part of the test
                wait(work, PATIENCE)
        finally:
            stop.set()
        for one in work:
            one.result()
    assert [load.failures for load in loads] == [[]] * CALLERS
