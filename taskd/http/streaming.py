"""Listeners of the live stream: one task watches the tables for all of them, each is sent what it finds.

fault                                    what happens
a listener reads slowly                  with more than MOST_WAITING bytes to send, or SEND without a step, it is dropped
a listener goes away without a word      the next sign of life, every ALIVE, can't be sent
too many listen                          503 from MOST_LISTENERS on
nobody listens                           nothing is looked at
the database is away                     who comes is told 503; who listens waits, and hears all of it afterwards
looking takes long                       the pauses between looks become longer: at most a fifth of the time goes into them
the daemon stops                         every stream is ended, none is left to its client's patience
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from aiohttp import WSCloseCode, WSMsgType
from aiohttp.web import BaseRequest, RequestHandler, StreamResponse, WebSocketResponse

from taskd import clock
from taskd.clock import waited
from taskd.errors import DatabaseUnavailable
from taskd.http.encoding import Encoded, encoded
from taskd.http.exchange import Context
from taskd.http.message import Message
from taskd.http.problems import Problem, answer_to
from taskd.http.watching import Watch
from taskd.store.stream import Position

MOST_LISTENERS = 32
MOST_WAITING = 4 * 2**20  # bytes
EVERY = 0.5  # seconds between two looks
SHARE = 4  # times as long as a look took is the least pause after it
ALIVE = 15.0  # seconds of silence after which a sign of life is sent
SEND = 60.0  # seconds in which a client must have read some of what it was sent
GOODBYE = 2.0  # seconds for a WebSocket's client to say it too
MOST_ASKED = 4096  # bytes of what a client says
SWITCHING = 101  # protocols
STATUS = "task_worker_status"
log = logging.getLogger("taskd.http")

T = TypeVar("T")
Pings = Callable[[], Awaitable[Encoded]]
"""Asks the workers: the answer of `/control/inspect/ping`."""


class Listener:
    """What waits to be sent to one client."""

    def __init__(self, handler: RequestHandler, since: Position | None) -> None:
        self.handler, self.since = handler, since
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Queue[Sequence[Message]] = asyncio.Queue()
        self._bytes = 0

    def drop(self) -> None:
        """Its client doesn't read: nothing that was sent is waited for."""
        if self.handler.transport is not None:
            self.handler.transport.abort()

    def offer(self, messages: Sequence[Message]) -> bool:
        """Whether it reads fast enough: what was found at once, however much that is, it may take its time for."""
        behind = self._bytes > MOST_WAITING
        self._bytes += sum(len(message.data) for message in messages)
        self._waiting.put_nowait(messages)
        return not behind

    def end(self) -> None:
        """Nothing more will come."""
        self._waiting.put_nowait(())

    async def next(self) -> Sequence[Message]:
        """What comes next; nothing once it has ended."""
        messages = await self._waiting.get()
        self._bytes -= sum(len(message.data) for message in messages)
        return messages


class Streams:
    """All listeners of this process."""

    def __init__(self, context: Context, pings: Pings) -> None:
        self._context, self._pings = context, pings
        self._thread = ThreadPoolExecutor(1, "taskd-live")
        self._coming: list[Listener] = []
        self._listeners: dict[RequestHandler, Listener] = {}
        self._wake = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def listener(self, request: BaseRequest, told: Encoded) -> Listener:
        """One that has its first messages; raises Problem (400, 503), DatabaseUnavailable."""
        assert told.live is not None
        if told.status == SWITCHING and not _socket().can_prepare(request):
            raise Problem(400, "this is not the handshake of a WebSocket")
        if len(self._listeners) + len(self._coming) >= MOST_LISTENERS:
            raise Problem(503, f"{MOST_LISTENERS} listen already: come again later", {"Retry-After": "30"})
        new = Listener(request.protocol, told.live.since)
        self._coming.append(new)
        self._wake.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="live stream")
        await new.admitted
        return new

    def forget(self, handler: RequestHandler) -> None:
        """Its connection is gone."""
        gone = self._listeners.pop(handler, None)
        if gone is not None:
            gone.end()

    def close(self) -> None:
        """End all of them."""
        self._refuse(Problem(503, "taskd stops: come again"))
        self._end_all()
        if self._watching is not None:
            self._watching.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def send(self, request: BaseRequest, told: Encoded, listener: Listener) -> StreamResponse:
        """Send it what comes, until either side ends it."""
        sending = self._over_socket if told.status == SWITCHING else _as_events
        try:
            return await sending(request, told, listener)
        finally:
            self._listeners.pop(listener.handler, None)

    async def _over_socket(self, request: BaseRequest, _told: Encoded, listener: Listener) -> StreamResponse:
        socket = _socket()
        with suppress(ConnectionError):
            await socket.prepare(request)
            telling = asyncio.create_task(_tell(socket, listener))
            try:
                async for asked in socket:
                    if asked.type is WSMsgType.TEXT:
                        await socket.send_str(await self._answered(asked.data))
            finally:
                telling.cancel()
        return socket

    async def _answered(self, asked: str) -> str:
        """The reply to what a WebSocket's client says."""
        sentence = f'this is not understood: say {{"action": "{STATUS}"}}'
        told = encoded(answer_to(Problem(400, sentence), "/api/v1/ws", ()))
        with suppress(ValueError, RecursionError):
            if json.loads(asked) == {"action": STATUS}:
                told = await self._pings()
        return f'{{"action": "{STATUS}", "status": {told.status}, "data": {told.raw.decode()}}}'

    async def _watch(self) -> None:
        """Look for as long as anybody listens."""
        watch: Watch | None = None
        while self._listeners or self._coming:
            began = clock.monotonic()
            self._wake.clear()
            try:
                if watch is None:
                    watch = await self._aside(self._begun)
                self._offer(await self._aside(partial(watch.look, clock.now(), clock.monotonic())))
                while self._coming:
                    await self._admit(watch, self._coming[0])
            except DatabaseUnavailable as error:
                self._refuse(error)
            except Exception as error:
                # They come again, and are told what they have missed.
                log.exception("the live stream failed")
                self._refuse(error)
                self._end_all()
            await waited(self._wake, max(EVERY, SHARE * (clock.monotonic() - began)))

    def _begun(self) -> Watch:
        context = self._context
        return Watch(context.database, context.secret_keys, clock.now(), clock.monotonic())

    async def _admit(self, watch: Watch, new: Listener) -> None:
        """Between two looks, so that what comes later is told later."""
        first = await self._aside(partial(watch.begin, new.since))
        self._coming.remove(new)
        new.offer(first)
        self._listeners[new.handler] = new
        new.admitted.set_result(None)

    def _offer(self, messages: Sequence[Message]) -> None:
        for listener in [*self._listeners.values()] if messages else ():
            if not listener.offer(messages):
                log.warning("a listener of the live stream reads too slowly, and is dropped")
                listener.drop()

    def _refuse(self, error: Exception) -> None:
        while self._coming:
            self._coming.pop().admitted.set_exception(error)

    def _end_all(self) -> None:
        for handler in [*self._listeners]:
            self.forget(handler)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _socket() -> WebSocketResponse:
    return WebSocketResponse(heartbeat=2 * ALIVE, timeout=GOODBYE, compress=False, max_msg_size=MOST_ASKED)


async def _as_events(request: BaseRequest, told: Encoded, listener: Listener) -> StreamResponse:
    response = StreamResponse(status=told.status, headers=told.headers)
    with suppress(ConnectionError):
        await response.prepare(request)
        try:
            while chunk := await _chunk(listener):
                async with asyncio.timeout(SEND):
                    await response.write(chunk)
        except TimeoutError:
            listener.drop()
        await response.write_eof()
    return response


async def _chunk(listener: Listener) -> bytes:
    """Messages or, after a silence, a comment; nothing once it has ended."""
    try:
        async with asyncio.timeout(ALIVE):
            return b"".join(message.of_events() for message in await listener.next())
    except TimeoutError:
        return b":\n\n"


async def _tell(socket: WebSocketResponse, listener: Listener) -> None:
    """Send what comes; say goodbye once nothing does."""
    try:
        while messages := await listener.next():
            for message in messages:
                async with asyncio.timeout(SEND):
                    await socket.send_str(message.of_socket())
        await socket.close(code=WSCloseCode.GOING_AWAY)
    except TimeoutError:
        listener.drop()
    except ConnectionError:
        pass
