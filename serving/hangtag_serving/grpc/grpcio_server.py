"""The portable gRPC server: grpc.aio, for every address, with TLS and limits.

It runs on an event loop in its own thread, so health watches and calls whose request has not arrived need no thread.
Methods run in a pool of threads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import grpc.aio

from ..api.grpc_methods import PREDICT, RELOAD, Method
from ..errors import INTERNAL, ServingError
from ..fast.grpc_predict import Make
from ..machine import MemoryTrimmer, new_event_loop
from .health import WATCH, watch
from .interface import MAX_STREAMS, GrpcOptions, status_message

log = logging.getLogger("hangtag.serving")
_aio_log = logging.getLogger("grpc._cython.cygrpc")

_REQUEST_SECONDS = 60.0  # for the request of a call to arrive
_TOO_LATE = "no request within"
_QUIET_SECONDS = 0.2  # without a new call, before clients are asked to connect elsewhere (GOAWAY)
_MAX_QUIET_SECONDS = 2.0
_ANNOUNCING_SECONDS = 0.02  # for GOAWAY to be sent before the waiting answers
_MAX_CONNECTIONS = 2000
_LIMITS = (
    ("grpc.so_reuseport", 0),  # otherwise two servers could listen on one port and share its calls
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
    # With 1,000 waiting calls, grpc begins to cancel some at random by default.
    ("grpc.server.max_pending_requests", _MAX_CONNECTIONS * MAX_STREAMS),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_CONNECTIONS * MAX_STREAMS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),  # clients reconnect automatically
    ("grpc.keepalive_time_ms", 60_000),
)
_INLINE_SECONDS = 0.001  # a batch that is expected to take longer runs in the pool


class GrpcioServer:
    """Listens from `start` to `stop`. Without `make_fast`, every call takes the plain path."""

    def __init__(self, options: GrpcOptions, methods: Mapping[str, Method], make_fast: Make | None = None) -> None:
        self._options, self._methods = options, methods
        self._fast = make_fast(self._respond, self._fail) if make_fast is not None else None
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="grpc")
        self._reloads = ThreadPoolExecutor(1, thread_name_prefix="reload")  # a reload may wait for a model for hours
        self._arrived: list[tuple[asyncio.Future[bytes], bytes]] = []
        self._calls = 0
        self._loop = new_event_loop()
        self._trimmer = MemoryTrimmer()
        self._may_answer, self._stopped = asyncio.Event(), asyncio.Event()
        self._may_answer.set()
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._listening: Future[None] = Future()

    def start(self) -> None:
        """Accept calls. Raises RuntimeError if it cannot listen."""
        _aio_log.addFilter(_is_not_an_unsent_answer)  # adding it twice has no effect
        self._thread.start()
        self._listening.result()

    def stop(self, grace: float) -> None:
        """Refuse new calls, wait at most `grace` seconds for running ones, then end them."""
        asyncio.run_coroutine_threadsafe(self._drain(grace), self._loop).result()
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reloads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        # The runner ends all tasks: some calls have not finished when grpc.aio has stopped.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        options = self._options
        arguments = [*_LIMITS, ("grpc.max_receive_message_length", options.max_message_bytes)]
        self._server = grpc.aio.server(handlers=[_Handlers(self)], options=[*arguments, *options.channel_arguments])
        try:
            targets = [options.address] if options.address else []
            targets += [f"unix:{options.socket_path}"] if options.socket_path else []
            for target in targets:
                if options.tls is None or target.startswith("unix:"):
                    self._server.add_insecure_port(target)
                else:
                    self._server.add_secure_port(target, _credentials(options))
            await self._server.start()
        except Exception as error:
            self._listening.set_exception(error)
            await self._server.stop(None)
            return
        self._listening.set_result(None)
        await self._stopped.wait()

    async def _drain(self, grace: float) -> None:
        """Tell clients to connect elsewhere (GOAWAY), then stop.

        A call that arrives after GOAWAY ends as CANCELLED. So new calls are first held back until no more arrive, which
        is soon if clients wait for their answers. They are answered after GOAWAY.
        """
        self._may_answer.clear()
        end, calls = self._loop.time() + min(grace, _MAX_QUIET_SECONDS), -1
        while calls != self._calls and self._loop.time() < end:
            calls = self._calls
            await asyncio.sleep(_QUIET_SECONDS)
        stopping = self._loop.create_task(self._server.stop(grace))
        await asyncio.sleep(_ANNOUNCING_SECONDS)
        self._may_answer.set()
        await stopping
        self._stopped.set()

    # ---- calls, in the loop's thread

    def handlers(self) -> dict[str, Any]:
        """The handlers by full method name, from bytes to bytes."""
        handlers = {name: grpc.stream_unary_rpc_method_handler(partial(self._call, name)) for name in self._methods}
        if self._options.health:
            handlers[WATCH] = grpc.unary_stream_rpc_method_handler(self._watch)
        return handlers

    async def _call(self, name: str, requests: Any, context: Any) -> bytes:
        """Answer a call. It is handled as a stream of one request, to limit the time for the request to arrive."""
        # Not asyncio.timeout, which takes a fifth of the time of a call.
        timer = self._loop.call_later(_REQUEST_SECONDS, _current_task().cancel, _TOO_LATE)
        try:
            body = await context.read()
        except asyncio.CancelledError as error:
            self._trimmer.note()
            if error.args != (_TOO_LATE,):
                raise
            _current_task().uncancel()
            return _failed(context, "DEADLINE_EXCEEDED", f"{_TOO_LATE} {_REQUEST_SECONDS:g} seconds")
        finally:
            timer.cancel()
        if body is grpc.aio.EOF:
            self._trimmer.note()
            return _failed(context, "INTERNAL", "the call has no request message")
        self._calls += 1
        self._trimmer.note(len(body))
        if not self._may_answer.is_set():
            await self._may_answer.wait()
        try:
            return await self._answer(name, body)
        except ServingError as error:
            return _failed(context, error.code, status_message(error.message))
        except Exception:
            log.exception("a gRPC request failed")
            return _failed(context, "INTERNAL", INTERNAL)

    async def _answer(self, name: str, body: bytes) -> bytes:
        if self._fast is None or name != PREDICT:
            pool = self._reloads if name == RELOAD else self._pool
            return await self._loop.run_in_executor(pool, self._methods[name], body)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if not self._arrived:
            self._loop.call_soon(self._answer_arrived)
        self._arrived.append((answer, body))
        try:
            return await answer
        finally:
            del answer  # its exception holds this frame, and with it the request, until the garbage collector runs

    async def _watch(self, body: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            yield watch(body)
        except ServingError as error:
            _failed(context, error.code, status_message(error.message))
            return
        await self._stopped.wait()

    # ---- the fast path: calls that arrived together

    def _answer_arrived(self) -> None:
        assert self._fast is not None  # noqa: S101 - without it nothing arrives here
        arrived, self._arrived = self._arrived, []
        batches, unmatched = self._fast.sort(arrived)
        for batch in batches:
            if 0 < batch.expected_seconds < _INLINE_SECONDS:
                self._fast.answer(batch)
            else:
                self._pool.submit(self._fast.answer, batch)
        for answer, body in unmatched:
            self._pool.submit(self._answer_unmatched, answer, body)

    def _answer_unmatched(self, answer: asyncio.Future[bytes], body: bytes) -> None:
        assert self._fast is not None  # noqa: S101 - without it nothing arrives here
        try:
            self._respond(answer, self._methods[PREDICT](body))
            self._fast.learn(body)
        except Exception as error:
            self._fail(answer, error)

    def _respond(self, answer: asyncio.Future[bytes], body: bytes) -> None:
        self._in_loop(_set_result, answer, body)

    def _fail(self, answer: asyncio.Future[bytes], error: Exception) -> None:
        self._in_loop(_set_exception, answer, error)

    def _in_loop(self, function: Any, *arguments: Any) -> None:
        if threading.current_thread() is self._thread:
            function(*arguments)
        else:
            with suppress(RuntimeError):  # the loop is closed after the grace period
                self._loop.call_soon_threadsafe(function, *arguments)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a method by its full name."""

    def __init__(self, server: GrpcioServer) -> None:
        self._handlers = server.handlers()

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _is_not_an_unsent_answer(record: logging.LogRecord) -> bool:
    """False for grpc.aio's traceback about an answer that cannot be sent, because the client has disconnected.

    grpc.aio logs it only if both happen at the same time. Without this filter, any client could fill the log.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not (type(error).__name__ == "ExecuteBatchError" and "cygrpc.Send" in str(error))


def _failed(context: Any, code: str, message: str) -> bytes:
    """Set the status of a call. `context.abort` would keep the call and its request until a garbage collection."""
    context.set_code(grpc.StatusCode[code])
    context.set_details(message)
    return b""


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - grpc.aio runs each call in a task
    return task


def _set_result(answer: asyncio.Future[bytes], body: bytes) -> None:
    if not answer.done():  # a client that cancels its call cancels the future
        answer.set_result(body)


def _set_exception(answer: asyncio.Future[bytes], error: Exception) -> None:
    if isinstance(error, ServingError):  # a copy without the traceback, whose frames refer to the request
        error = ServingError(error.code, error.message)
    if not answer.done():
        answer.set_exception(error)


def _credentials(options: GrpcOptions) -> Any:
    tls = options.tls
    assert tls is not None  # noqa: S101 - the caller has checked
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.clients_ca,
        require_client_auth=tls.client_must_prove,
    )
