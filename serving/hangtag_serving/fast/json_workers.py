"""Processes that do nothing but parse JSON numbers, which in the server would hold the interpreter's lock.

A helper knows neither TensorFlow nor the network: it reads a list's text from a socket, writes the array to it, and
ends when the server closes its end. Messages begin with a fixed head, in the machine's byte order.
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
from .json_numbers import read_numbers

log = logging.getLogger("hangtag.serving")

_REQUEST = struct.Struct("=QII")  # bytes of the text, DataType, greatest depth
_ANSWER = struct.Struct("=iQ")  # rank, or one of these; bytes of shape and array
_READY, _NOTHING = -2, -1
_BUFFER_BYTES = 1 << 20
_JOBS_AHEAD = 2  # for each helper: the next is there when the last is done
_PAUSE_SECONDS = 5.0  # between starts: a helper may end because there is no memory for it

Done = Callable[[np.ndarray | None], object]


class _Job(NamedTuple):
    text: memoryview
    dtype_number: int
    max_depth: int
    done: Done


class Helpers:
    """Up to `count` helpers, started when the first job comes. To be used in the thread of `loop` alone.

    One that has ended is replaced when the next job comes, but not sooner than some seconds after the last start.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self._loop, self._count = loop, count
        self._all: list[_Helper] = []
        self._jobs: deque[_Job] = deque()
        self._running = 0  # helpers that run, ready for jobs or not yet
        self._next_start = 0.0  # by the loop's clock
        self._task: asyncio.Task[None] | None = None

    def read(self, text: memoryview, dtype_number: int, max_depth: int, done: Done) -> bool:
        """Call `done` with what `read_numbers` gives, or with None if the helper is lost; False without any helper."""
        if self._running < self._count and self._loop.time() >= self._next_start:
            self._next_start = math.inf
            self._task = self._loop.create_task(self._start())
        if not self._all:
            return False
        self._jobs.append(_Job(text, dtype_number, max_depth, done))
        self.send()
        return True

    def close(self) -> None:
        """End the helpers."""
        if self._task is not None:
            self._task.cancel()
        for helper in self._all:
            helper.close()

    def started(self, helper: _Helper) -> None:
        """A helper is ready for its first job."""
        self._all.append(helper)
        self.send()

    def lost(self, helper: _Helper) -> None:
        """A helper has ended; what nobody is left to do is given back."""
        self._running -= 1
        if helper in self._all:
            self._all.remove(helper)
        while self._jobs and not self._all:
            self._jobs.popleft().done(None)

    def send(self) -> None:
        """Give waiting jobs to helpers that are free for one."""
        while self._jobs:
            helper = min(self._all, key=lambda helper: len(helper.jobs))
            if len(helper.jobs) >= _JOBS_AHEAD:
                return
            helper.send(self._jobs.popleft())

    async def _start(self) -> None:
        try:
            for _ in range(self._count - self._running):
                await self._start_one()
        except OSError as error:  # no memory, no processes, no descriptors: the server parses JSON itself
            log.error("cannot start a process that parses JSON: %s", error)
        self._next_start = self._loop.time() + _PAUSE_SECONDS

    async def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):  # a whole message, so that both sides are woken once for it
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            try:
                process = await self._loop.run_in_executor(None, _spawn, theirs)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._running += 1
        await self._loop.create_connection(lambda: _Helper(self, process), sock=ours)


class _Helper(asyncio.Protocol):
    """The server's end of the socket to one helper."""

    def __init__(self, helpers: Helpers, process: subprocess.Popen[bytes]) -> None:
        self._helpers, self._process = helpers, process
        self.jobs: deque[_Job] = deque()
        self._pieces: list[bytes] = []
        self._received = self._wanted = 0  # bytes of the next answer
        self._closed = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, job: _Job) -> None:
        """Give it a job; it answers in their order."""
        self.jobs.append(job)
        self._transport.writelines([_REQUEST.pack(len(job.text), job.dtype_number, job.max_depth), job.text])

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._received += len(data)
        while self._received >= max(_ANSWER.size, self._wanted):
            message = b"".join(self._pieces)
            rank, size = _ANSWER.unpack_from(message)
            self._wanted = _ANSWER.size + size
            self._pieces = [message]
            if self._received < self._wanted:
                return
            self._pieces = [message[self._wanted :]]
            self._received, self._wanted = len(self._pieces[0]), 0
            self._answered(message, rank)

    def _answered(self, message: bytes, rank: int) -> None:
        if rank == _READY:
            self._helpers.started(self)
            return
        job = self.jobs.popleft()
        self._helpers.send()
        job.done(None if rank == _NOTHING else _array(message, rank, job.dtype_number))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            log.error("a process that parses JSON has ended")
        self._helpers.lost(self)
        self._process.kill()
        self._process.wait()
        while self.jobs:
            self.jobs.popleft().done(None)

    def close(self) -> None:
        """End the helper."""
        self._closed = True
        self._transport.abort()


def helper_count() -> int:
    """One for each core, if there is more than one."""
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
    """Be a helper; the argument is the number of the socket's descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's to handle
    gc.disable()  # an object for each list, and no cycles: looking for them took a tenth of the time
    with socket.socket(fileno=int(sys.argv[1])) as line, line.makefile("rwb", buffering=_BUFFER_BYTES) as stream:
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
    with contextlib.suppress(OSError):  # the server is gone
        main()
