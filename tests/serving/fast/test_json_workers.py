"""The worker processes on their own, in this process's event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hangtag.protocol import dtypes
from hangtag_serving.fast import json_workers
from hangtag_serving.fast.json_workers import JsonWorkers
from support import PATIENCE, eventually

UINT8 = dtypes.BY_NAME["DT_UINT8"].number
TEXT = memoryview(b"[[1, 2], [3, 4]]")


async def ready(workers: JsonWorkers) -> None:
    """Until a worker takes jobs."""
    while not workers._ready:
        workers.submit(TEXT, UINT8, 254, lambda _: None, lambda: None)
        await asyncio.sleep(0.05)


async def parse(workers: JsonWorkers, text: memoryview = TEXT) -> np.ndarray | str | None:
    """What a worker gives, or "lost"."""
    result: asyncio.Future[np.ndarray | str | None] = asyncio.get_running_loop().create_future()
    workers._choice.first = True
    assert workers.submit(text, UINT8, 254, result.set_result, lambda: result.set_result("lost"))
    return await result


def run(test: Callable[[JsonWorkers], Awaitable[None]]) -> None:
    async def main() -> None:
        workers = JsonWorkers(asyncio.get_running_loop(), 1)
        try:
            async with asyncio.timeout(PATIENCE):
                await ready(workers)
                await test(workers)
        finally:
            workers.close()
            await asyncio.sleep(0.1)

    asyncio.run(main())


def test_a_worker_parses_as_the_server_does():
    async def test(workers: JsonWorkers) -> None:
        array = await parse(workers)
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.uint8
        assert array.tolist() == [[1, 2], [3, 4]]
        assert await parse(workers, memoryview(b"[[1, 2], [3]]")) is None

    run(test)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_ends_or_hangs_gives_its_job_back_and_is_replaced(number, monkeypatch, caplog):
    monkeypatch.setattr(json_workers, "_STUCK_SECONDS", 0.3)
    monkeypatch.setattr(json_workers, "_RESTART_SECONDS", 0.0)

    async def test(workers: JsonWorkers) -> None:
        lost = workers._ready[0]._process.pid
        os.kill(lost, number)
        assert await parse(workers) == "lost"
        while not workers._ready:
            await ready(workers)
        assert workers._ready[0]._process.pid != lost
        monkeypatch.setattr(json_workers, "_STUCK_SECONDS", PATIENCE)
        assert isinstance(await parse(workers), np.ndarray)

    run(test)
    assert any("parses JSON" in record.message for record in caplog.records)


def test_without_a_worker_the_caller_parses():
    async def main() -> None:
        workers = JsonWorkers(asyncio.get_running_loop(), 0)
        assert not workers.submit(TEXT, UINT8, 254, lambda _: None, lambda: None)
        workers.close()

    asyncio.run(main())


SERVER = """
import asyncio
from hangtag_serving.fast.json_workers import JsonWorkers

async def main():
    workers = JsonWorkers(asyncio.get_running_loop(), 2)
    while len(workers._ready) < 2:
        workers.submit(memoryview(b"[1]"), 4, 254, lambda _: None, lambda: None)
        await asyncio.sleep(0.05)
    print(*(worker._process.pid for worker in workers._ready), flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_their_server():
    """Killed, and one of them stopped at that time."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        workers = server.stdout.readline().split()
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGSTOP)
        server.kill()
        os.kill(int(workers[0]), signal.SIGCONT)
    eventually(lambda: not any(is_worker(number) for number in workers), "the workers to end")


def is_worker(number: str) -> bool:
    """Whether a process of that number still is one."""
    with suppress(OSError):
        return b"json_workers" in Path(f"/proc/{number}/cmdline").read_bytes()
    return False
