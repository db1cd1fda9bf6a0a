"""The server: aiohttp carries the bytes, threads of its own call the handlers, so that nothing waits on the loop.

fault                                    what happens
a client sends its request slowly        after RECEIVE seconds its connection is closed (a slow body: 408)
more than MOST_CONNECTIONS connect       the oldest that nobody works for is dropped: slow ones make room
a client doesn't read its answer         after SEND seconds its connection is dropped; it never held a thread
workers don't answer                     504 after ASIDE seconds, and threads of their own wait for them
all handlers wait for the database       /healthz is answered on the loop; the rest waits its turn, then says 503
the database goes away within a list     the connection is dropped: what was sent isn't valid JSON
a body of more than a megabyte           413
not HTTP at all                          400, and the connection is closed
no token, or one that may not do this    401, 403, before its body is read
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from aiohttp import hdrs
from aiohttp.web import (
    BaseRequest,
    RequestHandler,
    Server,
    StreamResponse,
)

from taskd import clock
from taskd.errors import TaskdError
from taskd.http import bodies
from taskd.http.access import READS, check_host, check_origin, check_write
from taskd.http.activation import handed_over
from taskd.http.callers import Caller, Callers, user_of
from taskd.http.encoding import Encoded, encoded
from taskd.http.exchange import Context
from taskd.http.listening import BACKLOG, listening, shown
from taskd.http.problems import Problem, answer_to
from taskd.http.routes import answer, path_of, place_of, scope_of
from taskd.http.streaming import Listener, Streams

MOST_CONNECTIONS = 256
RECEIVE = 30.0  # seconds in which a request, its body included, must have come
SEND = 60.0  # seconds in which a client must have read its answer, but for what fits into a socket's buffers
LINGER = 2.0  # seconds in which a client that was refused may still send what it had begun, and then read why
DRAIN = 5.0  # seconds for what is in flight when the server stops
THREADS = 8
ASIDE = 30.0  # seconds in which what waits for workers is answered
PING = "/api/v1/control/inspect/ping"
log = logging.getLogger("taskd.http")


class HttpServer:
    """Serves the API at http.bind and on the Unix socket, as long as `run` runs."""

    name = "http"
    needs_lease = None

    def __init__(self, context: Context) -> None:
        """Raises ConfigError where a token's secret can't be had."""
        self._context = context
        self._callers = Callers(context.settings.http.tokens, os.environ)
        self.addresses: list[str] = []
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, serve until `stop`, finish what is in flight. Raises ConfigError where it can't listen."""
        settings = self._context.settings
        pools = [ThreadPoolExecutor(THREADS, name) for name in ("taskd-http", "taskd-http-aside")]
        try:
            with ExitStack() as open_:
                # The port first: of two daemons with the same settings, the second ends before it meets the socket.
                addresses = dict.fromkeys((settings.http.address, settings.socket_path))
                handed = handed_over(addresses, os.environ)
                listeners = [
                    open_.enter_context(handed[address] if address in handed else listening(address))
                    for address in addresses
                ]
                await self._serve(listeners, _Server(self._context, self._callers, *pools), stop)
        finally:
            self.listening.clear()
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(
        self, listeners: Sequence[socket.socket], server: "_Server", stop: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        self.addresses = [shown(listener) for listener in listeners]
        serving = [await loop.create_server(server, sock=one, backlog=BACKLOG) for one in listeners]
        self.listening.set()
        try:
            await stop.wait()
        finally:
            for one in serving:
                one.close()
            server.streams.close()
            server.pre_shutdown()
            await server.shutdown(DRAIN)


class _Server(Server):
    """aiohttp's server over `answer`, within limits."""

    def __init__(
        self, context: Context, callers: Callers, threads: ThreadPoolExecutor, aside: ThreadPoolExecutor
    ) -> None:
        super().__init__(
            self._serve,
            access_log=None,
            keepalive_timeout=RECEIVE,
            lingering_time=LINGER,
            auto_decompress=False,  # nothing small may become big
            logger=log,
        )
        self._context, self._callers = context, callers
        self._threads, self._aside = threads, aside
        self._busy: set[RequestHandler] = set()
        self.streams = Streams(context, self._pinged)

    def __call__(self) -> RequestHandler:
        """A new connection's protocol."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count it; where it is one too many, make room."""
        super().connection_made(handler, transport)
        if len(self._connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Nothing more is sent there."""
        super().connection_lost(handler, exc)
        self.streams.forget(handler)

    def _make_room(self) -> None:
        """Drop what is closing but was never read to its end, and the oldest that nobody works for."""
        waiting = []
        for handler, transport in self._connections.items():
            if transport.is_closing():
                transport.abort()
            elif handler not in self._busy:
                waiting.append(transport)
        if len(waiting) + len(self._busy) > MOST_CONNECTIONS and waiting:
            waiting[0].abort()

    async def _serve(self, request: BaseRequest) -> StreamResponse:
        began = clock.monotonic()
        told, keep = await self._told(request)
        told, listener = await self._listening(request, told)
        method = request.method if request.method in hdrs.METH_ALL else "other"
        self._context.observe(method, path_of(request.raw_path), told.status, clock.monotonic() - began)
        if listener is not None:
            return await self._streamed(request, told, listener)
        response = told.response()
        if not keep:
            response.force_close()
        try:
            await self._send(request, response, told.parts)
        except (TimeoutError, TaskdError) as error:
            log.debug("an answer is broken off: %s", error)
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            log.debug("a client went away before its answer was sent")
        return response

    async def _listening(self, request: BaseRequest, told: Encoded) -> tuple[Encoded, Listener | None]:
        """Whoever is to hear the live stream, once he has his place; or why he hasn't."""
        if told.live is None:
            return told, None
        try:
            return told, await self.streams.listener(request, told)
        except Exception as error:  # noqa: BLE001  becomes a problem, as everywhere
            return encoded(answer_to(error, request.path, self._context.secret_keys)), None

    async def _streamed(self, request: BaseRequest, told: Encoded, listener: Listener) -> StreamResponse:
        """Until either side ends it."""
        self._busy.add(request.protocol)
        try:
            return await self.streams.send(request, told, listener)
        finally:
            self._busy.discard(request.protocol)

    async def _send(
        self, request: BaseRequest, response: StreamResponse, parts: Iterator[bytes] | None
    ) -> None:
        """Send it; a part is read once the one before it is sent, so that nothing is kept for slow clients."""
        if parts is None:
            async with asyncio.timeout(SEND):
                await response.prepare(request)
                await response.write_eof()
            return
        async with asyncio.timeout(SEND):
            await response.prepare(request)
        while part := await self._next(request, parts):
            async with asyncio.timeout(SEND):
                await response.write(part)
        async with asyncio.timeout(SEND):
            await response.write_eof()

    async def _next(self, request: BaseRequest, parts: Iterator[bytes]) -> bytes:
        if request.method == "HEAD":
            return b""
        return await self._loop.run_in_executor(self._threads, next, parts, b"")

    async def _told(self, request: BaseRequest) -> tuple[Encoded, bool]:
        """The answer, and whether the connection may be used again: not where a body may not have been read."""
        try:
            caller = self._admitted(request)
            body = await self._received(request)
        except Problem as problem:
            instance = request.raw_path.partition("?")[0]
            return encoded(answer_to(problem, instance, self._context.secret_keys)), False
        return await self._answered(request, body, caller.name), True

    def _admitted(self, request: BaseRequest) -> Caller:
        """Who asks; raises Problem where he must not be answered, before anything of a body is read."""
        peer, allowed_hosts = user_of(request.transport), self._context.settings.http.allowed_hosts
        if peer is None:
            check_host(_only(request.headers.getall("Host", [])), allowed_hosts)
            sent = _only(request.headers.getall("Authorization", []))
            caller = self._callers.of_tcp(sent, scope_of(request.method, request.raw_path))
        else:
            caller = Caller(
                f"user:{peer}"
            )  # no account can pass for taskd itself, even where it has its name
        if request.method not in READS:
            check_write(request.headers, allowed_hosts, empty=not request.can_read_body)
        elif place_of(request.method, request.raw_path) == "live":
            check_origin(request.headers, allowed_hosts)  # a WebSocket's answers are read from any page
        return caller

    async def _received(self, request: BaseRequest) -> Any:
        """The body, parsed; raises Problem where there is none that can be read."""
        raw = await bodies.read(request, RECEIVE)
        return None if request.method in READS else bodies.parsed(raw)

    async def _answered(self, request: BaseRequest, body: Any, actor: str) -> Encoded:
        ask = partial(
            _ask, self._context, request.method, request.raw_path, body, actor, dict(request.headers)
        )
        place = place_of(request.method, request.raw_path)
        if place in {"loop", "live"}:
            return ask()
        self._busy.add(request.protocol)
        try:
            if place == "threads":
                return await self._loop.run_in_executor(self._threads, ask)
            return await self._asked_aside(ask, request.path)
        finally:
            self._busy.discard(request.protocol)

    async def _pinged(self) -> Encoded:
        """What each worker says to a ping."""
        ask = partial(_ask, self._context, "GET", PING, None, "http", {})
        return await self._asked_aside(ask, PING)

    async def _asked_aside(self, ask: Callable[[], Encoded], path: str) -> Encoded:
        try:
            async with asyncio.timeout(ASIDE):
                return await self._loop.run_in_executor(self._aside, ask)
        except TimeoutError:
            late = Problem(504, f"this was not answered within {ASIDE:g} seconds")
            return encoded(answer_to(late, path, self._context.secret_keys))


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (aiohttp's interface; its text quotes the client's bytes)
    ) -> StreamResponse:
        """What aiohttp could not read is the client's mistake; anything else is ours, and logged."""
        sentence = "this is not a valid HTTP request"
        error = exc if status >= 500 and isinstance(exc, Exception) else Problem(status, sentence)
        told = answer_to(error, request.path, ())
        response = encoded(told).response()
        response.force_close()
        return response


def _ask(
    context: Context, method: str, target: str, body: Any, actor: str, headers: Mapping[str, str]
) -> Encoded:
    return encoded(answer(context, method, target, body, actor=actor, headers=headers))


def _only(values: Sequence[str]) -> str | None:
    return values[0] if len(values) == 1 else None
