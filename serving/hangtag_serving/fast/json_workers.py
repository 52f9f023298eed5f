"""Worker processes that parse JSON numbers, so that parsing does not hold the server's interpreter lock.

A worker imports no TensorFlow and does no networking. It reads the text of a list from a socket, writes the array back,
and ends when the server closes the socket. Messages begin with a fixed header in the machine's byte order.

Workers help if a core is idle, and cost time otherwise. So the server measures both ways in turn, and uses the one that
parses more bytes per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hangtag.protocol import dtypes

from ..machine import usable_cores
from .json_arrays import read_numbers
from .measured_choice import MeasuredChoice

log = logging.getLogger("hangtag.serving")

_REQUEST = struct.Struct("=QII")  # bytes of the text, DataType, greatest depth
_ANSWER = struct.Struct("=iQ")  # rank, or one of these; bytes of shape and array
_READY, _NOTHING = -2, -1
_BUFFER_BYTES = 1 << 20
_JOBS_AHEAD = 2  # for each worker, so that the next job is there when one is done
_RESTART_SECONDS = 5.0  # between starts, because workers may end for lack of memory
_STUCK_SECONDS = 2.0  # plus a second for each 4 MiB; a worker that takes longer is replaced
_BYTES_A_SECOND = 4 << 20

Done = Callable[[np.ndarray | None], object]
Lost = Callable[[], object]


class _Job(NamedTuple):
    text: memoryview
    dtype_number: int
    max_depth: int
    done: Done
    lost: Lost
    finished: Callable[[], None]


class JsonWorkers:
    """Up to `count` worker processes, started by the first job. Only for the thread of `loop`.

    A later job replaces workers that have ended, at least some seconds after the last start.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self._loop, self._count = loop, count
        self._ready: list[_Worker] = []
        self._jobs: deque[_Job] = deque()
        self._running = 0  # workers that run, including those that are still starting
        self._next_start = 0.0  # by the loop's clock
        self._task: asyncio.Task[None] | None = None
        self._choice = MeasuredChoice(loop.time)
        self._closed = False

    def submit(self, text: memoryview, dtype_number: int, max_depth: int, done: Done, lost: Lost) -> bool:
        """Let a worker parse a text; `done` is called with the result of `read_numbers`, or `lost` if the worker ends.

        Returns False if the caller should parse the text itself: there is no worker, or they are slower.
        """
        if self._closed:
            return False
        if self._running < self._count and self._loop.time() >= self._next_start:
            self._next_start = math.inf
            self._task = self._loop.create_task(self._start())
        if not self._ready or not self._choice.first:
            return False
        self._jobs.append(_Job(text, dtype_number, max_depth, done, lost, self._choice.started(len(text))))
        self.send()
        return True

    def started_elsewhere(self, size: int) -> Callable[[], None]:
        """Record that the caller parses a text itself; it calls the returned function at the end."""
        return self._choice.started(size) if self._ready else lambda: None

    def close(self) -> None:
        """End the workers."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        for worker in self._ready.copy():
            worker.close()

    def started(self, worker: _Worker) -> None:
        """Add a worker that is ready for its first job."""
        self._ready.append(worker)
        self.send()

    def ended(self, worker: _Worker) -> None:
        """Remove a worker that has ended. Without any worker, waiting jobs go back to their callers."""
        self._running -= 1
        if worker in self._ready:
            self._ready.remove(worker)
        while self._jobs and not self._ready:
            _give_back(self._jobs.popleft())

    def send(self) -> None:
        """Send waiting jobs to workers that can take one."""
        while self._jobs and self._ready:
            worker = min(self._ready, key=lambda worker: len(worker.jobs))
            if len(worker.jobs) >= _JOBS_AHEAD:
                return
            worker.send(self._jobs.popleft())

    async def _start(self) -> None:
        try:
            for _ in range(self._count - self._running):
                await self._start_one()
        except OSError as error:  # no memory, no processes, no descriptors: the server parses JSON itself
            log.error("cannot start a process that parses JSON: %s", error)
        self._next_start = self._loop.time() + _RESTART_SECONDS

    async def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):  # room for a whole message, so that each side wakes up once for it
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            try:
                process = await self._loop.run_in_executor(None, _spawn, theirs)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._running += 1
        await self._loop.create_connection(lambda: _Worker(self, self._loop, process), sock=ours)


class _Worker(asyncio.Protocol):
    """The server's end of the socket to one worker."""

    def __init__(self, workers: JsonWorkers, loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes]) -> None:
        self._workers, self._loop, self._process = workers, loop, process
        self.jobs: deque[_Job] = deque()
        self._pieces: list[bytes] = []
        self._received = self._expected = 0  # bytes of the next answer
        self._closed = False
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, job: _Job) -> None:
        """Send a job. The worker answers its jobs in order."""
        self.jobs.append(job)
        if len(self.jobs) == 1:
            self._watch()
        self._transport.writelines([_REQUEST.pack(len(job.text), job.dtype_number, job.max_depth), job.text])

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._received += len(data)
        while self._received >= max(_ANSWER.size, self._expected):
            message = b"".join(self._pieces)
            rank, size = _ANSWER.unpack_from(message)
            self._expected = _ANSWER.size + size
            self._pieces = [message]
            if self._received < self._expected:
                return
            self._pieces = [message[self._expected :]]
            self._received, self._expected = len(self._pieces[0]), 0
            self._answered(message, rank)

    def _answered(self, message: bytes, rank: int) -> None:
        if rank == _READY:
            self._workers.started(self)
            return
        job = self.jobs.popleft()
        self._watch()
        self._workers.send()
        job.finished()
        job.done(None if rank == _NOTHING else _array(message, rank, job.dtype_number))

    def _watch(self) -> None:
        """Start the timer of the next job."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.jobs:
            seconds = _STUCK_SECONDS + len(self.jobs[0].text) / _BYTES_A_SECOND
            self._timer = self._loop.call_later(seconds, self._stuck)

    def _stuck(self) -> None:
        log.error("a process that parses JSON does not answer and is replaced")
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            log.error("a process that parses JSON has ended")
        if self._timer is not None:
            self._timer.cancel()
        self._process.kill()
        self._process.wait()
        self._workers.ended(self)
        while self.jobs:
            _give_back(self.jobs.popleft())

    def close(self) -> None:
        """End the worker."""
        self._closed = True
        self._transport.abort()


def _give_back(job: _Job) -> None:
    job.finished()
    job.lost()


def worker_count() -> int:
    """One worker for each core, at most 4; none on a single core and on Windows."""
    cores = usable_cores()
    return 0 if cores < 2 or os.name == "nt" else min(cores, 4)


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    descriptor = theirs.fileno()
    return subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", __name__, str(descriptor)], pass_fds=[descriptor], stdin=subprocess.DEVNULL
    )


def _array(message: bytes, rank: int, dtype_number: int) -> np.ndarray:
    dtype = dtypes.BY_NUMBER[dtype_number].numpy
    shape = np.frombuffer(message, np.int64, rank, _ANSWER.size).tolist()
    return np.frombuffer(message, dtype, math.prod(shape), _ANSWER.size + 8 * rank).reshape(shape)


def main() -> None:
    """Run a worker; the argument is the file descriptor of its socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles it
    gc.disable()  # there are many objects and no cycles: collections took a tenth of the time
    server = socket.socket(fileno=int(sys.argv[1]))
    with server, server.makefile("rwb", buffering=_BUFFER_BYTES) as stream:
        stream.write(_ANSWER.pack(_READY, 0))
        stream.flush()
        while len(head := stream.read(_REQUEST.size)) == _REQUEST.size:
            size, dtype_number, max_depth = _REQUEST.unpack(head)
            array = read_numbers(memoryview(stream.read(size)), dtype_number, max_depth)
            if array is None:
                stream.write(_ANSWER.pack(_NOTHING, 0))
            else:
                shape = np.array(array.shape, np.int64).tobytes()
                stream.write(_ANSWER.pack(array.ndim, len(shape) + array.nbytes) + shape)
                stream.write(array.data)
            stream.flush()


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # the server has ended
        main()
