"""The live stream as it is served: what happens is told, to those who may know and read what they are sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from sqlalchemy import insert, update

from taskd.errors import DatabaseUnavailable
from taskd.http import server, streaming
from taskd.http.server import HttpServer
from taskd.store import events
from taskd.store.tables import LeaseRow, RunRow
from taskd.worker import control
from taskd.worker.control import Replies
from tests.unit.http.conftest import SCHEDULERS, Api
from tests.unit.http.test_http_server import connected, served

EVENTS, SOCKET = "/api/v1/events", "/api/v1/ws"
PATIENCE = 20  # seconds
LONG = aiohttp.ClientTimeout(100)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "EVERY", 0.02)
    monkeypatch.setattr(streaming, "SHARE", 0)


async def told(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The messages of an event stream."""
    message: dict[str, Any] = {"id": None}
    async for line in answer.content:
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key in {"id", "event", "data"}:
            message[key] = json.loads(value) if key == "data" else value
        elif not key and "data" in message:
            yield message
            message = {"id": None}


async def heard(answer: aiohttp.ClientResponse, event: str, **data: Any) -> dict[str, Any]:
    """The next message of that kind with these data."""
    async with asyncio.timeout(PATIENCE), aclosing(told(answer)) as messages:
        async for message in messages:
            if message["event"] == event and data.items() <= message["data"].items():
                return message
    raise AssertionError(f"the stream has ended without {event} {data}")


def change(api: Api, task_id: str, **columns: Any) -> None:
    """A worker writes about a run."""
    statement = update(RunRow).where(RunRow.task_id == task_id).values(**columns)
    api.context.database.write(lambda session: session.execute(statement))


def many(api: Api, first: int, count: int) -> None:
    """Runs of 6 kB."""
    rows = [
        {"task_id": f"big-{n}", "task_name": "t", "status": "SUCCESS", "kind": "adhoc", "result": "x" * 6000}
        for n in range(first, first + count)
    ]
    api.context.database.write(lambda session: session.execute(insert(RunRow), rows))


async def test_what_happens_is_told_in_order_and_with_positions(api: Api) -> None:
    api.add("daily")
    async with served(api.context) as client, client.get(EVENTS) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await heard(answer, "leader", lease="reconcile"))["id"] is not None
        api.ask("POST", f"{SCHEDULERS}/daily/pause", {"reason": "holidays"})
        assert (await heard(answer, "change", kind="paused"))["data"]["name"] == "daily"
        api.ran("r1", status="PENDING", kwargs={"password": "hunter2"}, result={"token": "hunter2"})
        fired = await heard(answer, "fired", task_id="r1")
        assert fired["data"].keys() & {"args", "kwargs", "log"} == set()
        assert fired["data"]["result"] == {"token": "******"}
        for status in ("STARTED", "RETRY", "SUCCESS"):
            change(api, "r1", status=status)
            assert (await heard(answer, "run", status=status))["data"]["task_id"] == "r1"
        api.ran("long", result="x" * 9_000, traceback="y")
        long = (await heard(answer, "run", task_id="long"))["data"]
        assert (long["result"], long["traceback"], long["cut"]) == (None, None, True)
        api.ran("r2", status="SKIPPED")
        assert (await heard(answer, "run"))["data"]["task_id"] == "r2"
        api.context.database.write(
            lambda session: session.execute(update(LeaseRow).values(holder="other", epoch=7))
        )
        await heard(answer, "leader", lease="dispatch", holder="other", epoch=7)


async def test_a_listener_that_comes_again_hears_what_it_missed(api: Api) -> None:
    async with served(api.context) as client:
        async with client.get(EVENTS) as answer:
            api.ran("going", status="PENDING")
            at = (await heard(answer, "fired"))["id"]
        change(api, "going", status="SUCCESS", completed_at=datetime.now(UTC))
        api.ran("new", status="PENDING")
        api.context.database.write(lambda session: events.record(session, "purged", "ada", NOON))
        async with client.get(EVENTS, headers={"Last-Event-ID": at}) as answer:
            await heard(answer, "change", kind="purged")
            await heard(answer, "fired", task_id="new")
            await heard(answer, "run", task_id="going", status="SUCCESS")
        async with client.get(EVENTS, headers={"Last-Event-ID": "0.0.0"}) as answer:
            assert "look at the lists" in (await heard(answer, "reset"))["data"]["reason"]
            await heard(answer, "leader", lease="reconcile")
        async with client.get(EVENTS, headers={"Last-Event-ID": "yesterday"}) as answer:
            assert answer.status == 400


async def test_silence_has_its_signs_of_life(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "ALIVE", 0.05)
    async with served(api.context) as client, client.get(EVENTS) as answer, asyncio.timeout(PATIENCE):
        async for line in answer.content:
            if line == b":\n":
                break


async def test_a_socket_is_told_the_same_and_answers_about_workers(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: Replies({"w@h": "pong"}))
    async with served(api.context) as client, client.ws_connect(SOCKET) as socket:

        async def next_of(key: str, value: str) -> dict[str, Any]:
            async with asyncio.timeout(PATIENCE):
                while (message := await socket.receive_json()).get(key) != value:
                    pass
            return dict(message)

        assert (await next_of("event", "leader"))["data"].keys() == {"lease", "holder", "epoch"}
        await socket.send_json({"action": "task_worker_status"})
        pinged = await next_of("action", "task_worker_status")
        assert (pinged["status"], pinged["data"]["workers"]) == (200, {"w@h": "pong"})
        for nonsense in ("[" * 2000, '{"action": "shutdown"}', "{}"):
            await socket.send_str(nonsense)
            assert (await next_of("action", "task_worker_status"))["status"] == 400
        api.ran("r1", status="PENDING")
        assert (await next_of("event", "fired"))["data"]["task_id"] == "r1"
        await socket.send_str("x" * (streaming.MOST_ASKED + 1))
        async with asyncio.timeout(PATIENCE):
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("target", [EVENTS, SOCKET])
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_no_page_of_another_site_listens(api: Api, target: str, headers: Mapping[str, str]) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with (
        served(api.context) as client,
        client.get(target, headers={**upgrade, "Sec-WebSocket-Key": "a" * 22 + "==", **headers}) as answer,
    ):
        assert answer.status == 403


async def test_our_own_page_listens(api: Api) -> None:
    async with (
        served(api.context) as client,
        client.ws_connect(SOCKET, origin=str(client._base_url)) as socket,
    ):
        assert (await socket.receive_json(timeout=PATIENCE))["event"] == "leader"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 426),
        ({"Connection": "Upgrade", "Upgrade": "websocket"}, 400),
        ({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "1"}, 400),
    ],
)
async def test_what_is_no_handshake_is_told_so(api: Api, headers: Mapping[str, str], status: int) -> None:
    async with served(api.context) as client, client.get(SOCKET, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        assert (answer.headers.get("Upgrade") == "websocket") is (status == 426)


async def test_head_of_the_stream_ends(api: Api) -> None:
    async with served(api.context) as client, client.head(EVENTS) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")


async def test_only_so_many_listen(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MOST_LISTENERS", 2)
    async with served(api.context) as client:
        async with client.get(EVENTS) as first, client.get(EVENTS) as second, client.get(EVENTS) as third:
            assert (first.status, second.status, third.status) == (200, 200, 503)
            assert int(third.headers["Retry-After"]) > 0
            first.close()
            async with asyncio.timeout(PATIENCE):
                while (again := await client.get(EVENTS)).status != 200:  # once the server knows
                    again.close()
        again.close()


async def test_a_listener_that_does_not_read_is_dropped_and_delays_nobody(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST_WAITING", 200_000)
    lost, connection_lost = asyncio.Event(), server._Server.connection_lost

    def noted(of: server._Server, handler: Any, error: BaseException | None = None) -> None:
        connection_lost(of, handler, error)
        lost.set()

    monkeypatch.setattr(server._Server, "connection_lost", noted)
    async with served(api.context) as client, client.get(EVENTS, timeout=LONG) as quick:
        _, writer = await connected(client)
        writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await heard(quick, "leader", lease="reconcile")
        for step in range(1000):  # until what the system keeps for a client is full, and then ours
            many(api, step * 200, 200)
            await heard(quick, "fired", task_id=f"big-{step * 200 + 199}")
            if lost.is_set():
                break
        assert lost.is_set()
        writer.close()
        api.ran("after", status="PENDING")
        await heard(quick, "fired", task_id="after")


async def test_a_database_that_is_away_is_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    database, read = api.context.database, api.context.database.read
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(_work: Any) -> Any:
        loop.call_soon_threadsafe(failed.set)
        raise DatabaseUnavailable("the database is away")

    async with served(api.context) as client, client.get(EVENTS) as answer:
        await heard(answer, "leader", lease="reconcile")
        monkeypatch.setattr(database, "read", away)
        await asyncio.wait_for(failed.wait(), PATIENCE)
        async with client.get(EVENTS) as refused:
            assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        api.ran("meanwhile", status="PENDING")
        monkeypatch.setattr(database, "read", read)
        await heard(answer, "fired", task_id="meanwhile")


async def test_a_fault_of_ours_ends_the_streams_and_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(api.context) as client, client.get(EVENTS) as answer:
        await heard(answer, "leader", lease="reconcile")
        with monkeypatch.context() as broken:
            broken.setattr("taskd.store.stream.news", lambda *_: 1 / 0)
            await asyncio.wait_for(answer.read(), PATIENCE)
        assert "the live stream failed" in caplog.text
        async with client.get(EVENTS) as again:
            await heard(again, "leader", lease="reconcile")


async def test_nothing_is_looked_at_while_nobody_listens(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    http, stop = HttpServer(api.context), asyncio.Event()
    task = asyncio.create_task(http.run(stop))
    await asyncio.wait_for(http.listening.wait(), PATIENCE)
    async with aiohttp.ClientSession(http.addresses[0]) as client, client.get(EVENTS) as answer:
        await heard(answer, "leader", lease="reconcile")
    async with asyncio.timeout(PATIENCE):
        [watching] = [each for each in asyncio.all_tasks() if each.get_name() == "live stream"]
        await watching
    stop.set()
    await asyncio.wait_for(task, PATIENCE)


async def test_streams_end_with_the_daemon(api: Api) -> None:
    http, stop = HttpServer(api.context), asyncio.Event()
    task = asyncio.create_task(http.run(stop))
    await asyncio.wait_for(http.listening.wait(), PATIENCE)
    async with (
        aiohttp.ClientSession(http.addresses[0]) as client,
        client.get(EVENTS) as answer,
        client.ws_connect(SOCKET) as socket,
    ):
        await heard(answer, "leader", lease="reconcile")
        stop.set()
        await asyncio.wait_for(answer.read(), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
    await asyncio.wait_for(task, PATIENCE)
