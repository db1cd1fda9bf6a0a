"""The server: aiohttp carries the bytes, threads of its own call the handlers, so that nothing waits on the loop.

fault                                    what happens
a client sends its request slowly        after RECEIVE seconds its connection is closed (a slow body: 408)
more than MOST_CONNECTIONS connect       the oldest that nobody works for is dropped: slow ones make room
a client doesn't read its answer         after SEND seconds its connection is dropped; it never held a thread
all handlers wait for the database       /healthz is answered on the loop; the rest waits its turn, then says 503
a body of more than MOST_BYTES           413
not HTTP at all                          400, and the connection is closed
"""

import asyncio
import json
import logging
import pwd
import socket
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from aiohttp.web import (
    BaseRequest,
    HTTPRequestEntityTooLarge,
    RequestHandler,
    RequestPayloadError,
    Response,
    Server,
    StreamResponse,
)

from taskd.http.access import READS, check_host, check_write
from taskd.http.exchange import Answer, Context
from taskd.http.listening import BACKLOG, listening, shown
from taskd.http.problems import Problem, answer_to
from taskd.http.routes import answer, is_quick

MOST_CONNECTIONS = 256
MOST_BYTES = 1024**2  # of a body; aiohttp's own default too
RECEIVE = 30.0  # seconds in which a request, its body included, must have come
SEND = 60.0  # seconds in which a client must have read its answer, but for what fits into a socket's buffers
LINGER = 2.0  # seconds in which a client that was refused may still send what it had begun, and then read why
DRAIN = 5.0  # seconds for what is in flight when the server stops
THREADS = 8
log = logging.getLogger("taskd.http")


class HttpServer:
    """Serves the API at http.bind and on the Unix socket, as long as `run` runs."""

    name = "http"
    needs_lease = None

    def __init__(self, context: Context) -> None:
        self._context = context
        self.addresses: list[str] = []
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, serve until `stop`, finish what is in flight. Raises ConfigError where it can't listen."""
        settings = self._context.settings
        threads = ThreadPoolExecutor(THREADS, "taskd-http")
        try:
            with ExitStack() as open_:
                # The port first: of two daemons with the same settings, the second ends before it meets the socket.
                addresses = dict.fromkeys((settings.http.address, settings.socket_path))
                listeners = [open_.enter_context(listening(address)) for address in addresses]
                await self._serve(listeners, _Server(self._context, threads), stop)
        finally:
            self.listening.clear()
            threads.shutdown(wait=False, cancel_futures=True)

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
            server.pre_shutdown()
            await server.shutdown(DRAIN)


class _Server(Server):
    """aiohttp's server over `answer`, within limits."""

    def __init__(self, context: Context, threads: ThreadPoolExecutor) -> None:
        super().__init__(
            self._serve,
            access_log=None,
            keepalive_timeout=RECEIVE,
            lingering_time=LINGER,
            auto_decompress=False,  # nothing small may become big
            logger=log,
        )
        self._context, self._threads = context, threads
        self._busy: set[RequestHandler] = set()

    def __call__(self) -> RequestHandler:
        """A new connection's protocol."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count it; where it is one too many, make room."""
        super().connection_made(handler, transport)
        if len(self._connections) > MOST_CONNECTIONS:
            self._make_room()

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
        response = await self._response_to(request)
        try:
            async with asyncio.timeout(SEND):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            log.debug("a client went away before its answer was sent")
        return response

    async def _response_to(self, request: BaseRequest) -> Response:
        try:
            peer = _peer_of(request)
            body = await self._received(request, on_tcp=peer is None)
        except Problem as problem:
            told = answer_to(problem, request.raw_path.partition("?")[0], self._context.secret_keys)
            response = _response(told.status, *_encoded(told))
            response.force_close()
            return response
        return _response(*await self._answered(request, body, peer or "http"))

    async def _received(self, request: BaseRequest, *, on_tcp: bool) -> Any:
        """The body, parsed; raises Problem for a request that must not, or can't, be answered."""
        allowed_hosts = self._context.settings.http.allowed_hosts
        if on_tcp:
            hosts = request.headers.getall("Host", [])
            check_host(hosts[0] if len(hosts) == 1 else None, allowed_hosts)
        if request.method not in READS:
            check_write(request.headers, allowed_hosts, empty=not request.can_read_body)
        raw = await _read(request)
        return None if request.method in READS else _parsed(raw)

    async def _answered(
        self, request: BaseRequest, body: Any, actor: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        ask = partial(
            _ask, self._context, request.method, request.raw_path, body, actor, dict(request.headers)
        )
        if is_quick(request.method, request.raw_path):
            return ask()
        self._busy.add(request.protocol)
        try:
            return await self._loop.run_in_executor(self._threads, ask)
        finally:
            self._busy.discard(request.protocol)


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
        response = _response(told.status, *_encoded(told))
        response.force_close()
        return response


def _ask(
    context: Context, method: str, target: str, body: Any, actor: str, headers: Mapping[str, str]
) -> tuple[int, bytes, Mapping[str, str]]:
    told = answer(context, method, target, body, actor=actor, headers=headers)
    return told.status, *_encoded(told)


def _encoded(told: Answer) -> tuple[bytes, Mapping[str, str]]:
    # What isn't UTF-8 in a path has become half a surrogate pair, which this writes as JSON does: \udcff.
    raw = json.dumps(told.body, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    fixed = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return raw, {**fixed, **told.headers}


def _response(status: int, raw: bytes, headers: Mapping[str, str]) -> Response:
    return Response(status=status, body=raw, headers=headers)


async def _read(request: BaseRequest) -> bytes:
    """The body; raises Problem: 400, 408, 413."""
    try:
        async with asyncio.timeout(RECEIVE):
            return await request.read()
    except TimeoutError as error:
        raise Problem(408, f"the request did not arrive within {RECEIVE:g} seconds") from error
    except HTTPRequestEntityTooLarge as error:
        raise Problem(413, f"a body has at most {MOST_BYTES} bytes") from error
    except (ConnectionError, RequestPayloadError) as error:
        raise Problem(400, "the body did not arrive whole") from error


def _parsed(raw: bytes) -> Any:
    """JSON, or None for no body; raises Problem (400)."""
    if not raw:
        return None
    try:
        return json.loads(raw, parse_constant=_refuse, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, f"the body is not JSON: {why}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key is given twice")
    return keys


def _peer_of(request: BaseRequest) -> str | None:
    """The user at the other end of a Unix socket, by name; None where it is TCP."""
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
