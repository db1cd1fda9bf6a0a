"""The API as it is served: bytes, addresses, limits."""

import asyncio
import getpass
import io
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from yarl import URL

from taskd.config import Settings
from taskd.errors import ConfigError, DatabaseUnavailable
from taskd.http import bodies, schedulers, server
from taskd.http.exchange import Context
from taskd.http.server import HttpServer
from taskd.store import schedule_pages
from taskd.store.tables import RunRow, ScheduleRow
from tests.services import free_port
from tests.unit.http.conftest import RESULTS, SCHEDULERS, Api


@asynccontextmanager
async def served(context: Context) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the API, served over TCP until the block ends."""
    http, stop = HttpServer(context), asyncio.Event()
    task = asyncio.create_task(http.run(stop))
    ready = asyncio.create_task(http.listening.wait())
    await asyncio.wait({task, ready}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()
    try:
        async with aiohttp.ClientSession(http.addresses[0], timeout=aiohttp.ClientTimeout(20)) as client:
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


def unix_client(context: Context) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(str(context.settings.socket_path))
    return aiohttp.ClientSession("http://taskd", connector=connector)


async def raw(client: aiohttp.ClientSession, sent: bytes) -> bytes:
    """What the server says to these bytes until it closes."""
    reader, writer = await connected(client)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def connected(client: aiohttp.ClientSession) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert client._base_url is not None
    return await asyncio.open_connection(client._base_url.host, client._base_url.port)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", SCHEDULERS, None),
        ("GET", f"{SCHEDULERS}?label=team%3Adata&size=1", None),
        ("GET", f"{SCHEDULERS}/%E6%AF%8F%E6%97%A5", None),
        ("GET", f"{SCHEDULERS}/1/next?from=2026-05-01T00:00:00%2B08:00", None),
        ("GET", f"{SCHEDULERS}/a%2Fb%41", None),
        ("GET", f"{SCHEDULERS}?nmae=x", None),
        ("GET", f"{RESULTS}?status=SUCCESS&status=FAILURE", None),
        ("GET", "/readyz", None),
        ("DELETE", SCHEDULERS, None),
        ("POST", f"{SCHEDULERS}/1/start", {"reason": "每日"}),
        ("POST", f"{SCHEDULERS}/1/pause", {"until": 1}),
    ],
)
async def test_the_server_says_what_the_functions_say(api: Api, method: str, target: str, body: Any) -> None:
    api.add("每日", labels={"team": "data"})
    api.ran("run")
    told = api.ask(method, target, body)
    async with (
        served(api.context) as client,
        client.request(method, URL(target, encoded=True), json=body) as answer,
    ):
        assert (answer.status, await answer.json(content_type=None)) == (told.status, told.body)
        assert answer.headers.get("Allow") == told.headers.get("Allow")
        assert answer.content_type == told.headers.get("Content-Type", "application/json")


async def test_the_socket_is_the_groups_and_names_its_user(api: Api) -> None:
    api.add("daily")
    async with served(api.context), unix_client(api.context) as client:
        path = api.context.settings.socket_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with client.post(f"{SCHEDULERS}/daily/pause") as answer:
            assert (await answer.json())["paused_by"] == f"user:{getpass.getuser()}"
    assert not path.exists()


async def test_over_tcp_the_actor_is_http(api: Api) -> None:
    api.add("daily")
    async with served(api.context) as client, client.post(f"{SCHEDULERS}/daily/pause") as answer:
        assert (await answer.json())["paused_by"] == "http"


async def test_the_socket_of_a_dead_process_is_replaced(api: Api) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(api.context.settings.socket_path))
    async with served(api.context), unix_client(api.context) as client, client.get("/healthz") as answer:
        assert answer.status == 200


async def test_a_socket_that_is_answered_is_left_alone(api: Api) -> None:
    async with served(api.context), unix_client(api.context) as client:
        with pytest.raises(ConfigError, match=r"another process answers on .*taskd.sock: stop it"):
            await HttpServer(api.context).run(asyncio.Event())
        async with client.get("/healthz") as answer:
            assert answer.status == 200


async def test_a_file_in_the_sockets_place_is_left_alone(api: Api) -> None:
    api.context.settings.socket_path.write_text("precious")
    with pytest.raises(ConfigError, match="is in the way"):
        await HttpServer(api.context).run(asyncio.Event())
    assert api.context.settings.socket_path.read_text() == "precious"


async def test_a_path_that_is_too_long_for_a_socket_is_named(api: Api, tmp_path: Path) -> None:
    deep = Settings(state_dir=tmp_path / ("x" * 120), http={"bind": "127.0.0.1:0"})
    with pytest.raises(ConfigError, match="set state_dir to another folder"):
        await HttpServer(api.having(settings=deep).context).run(asyncio.Event())


async def test_a_taken_port_is_one_sentence(api: Api, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = Settings(state_dir=tmp_path, http={"bind": f"127.0.0.1:{port}"})
        with pytest.raises(ConfigError) as refused:
            await HttpServer(api.having(settings=taken).context).run(asyncio.Event())
    assert str(refused.value) == (
        f"127.0.0.1:{port} is taken by another program: stop it, or set http.bind to another port"
    )
    assert not taken.socket_path.exists()


async def test_it_can_be_bound_to_sockets_alone(api: Api, tmp_path: Path) -> None:
    only = Settings(state_dir=tmp_path, http={"bind": f"unix:{tmp_path}/other.sock"})
    http, stop = HttpServer(api.having(settings=only).context), asyncio.Event()
    task = asyncio.create_task(http.run(stop))
    await asyncio.wait_for(http.listening.wait(), 10)
    assert http.addresses == [f"unix:{tmp_path}/other.sock", f"unix:{tmp_path}/taskd.sock"]
    stop.set()
    await task


async def test_it_serves_again_after_it_was_stopped(api: Api, tmp_path: Path) -> None:
    fixed = Settings(state_dir=tmp_path, http={"bind": f"127.0.0.1:{free_port()}"})
    for _ in range(2):
        async with served(api.having(settings=fixed).context) as client, client.get("/readyz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("target", ["/healthz", SCHEDULERS, "/nowhere"])
async def test_a_rebound_name_gets_nothing(api: Api, target: str) -> None:
    async with served(api.context) as client:
        async with client.get(target, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421
        async with client.get(target, headers={"Host": "taskd.example"}) as answer:
            assert answer.status != 421


async def test_two_hosts_or_none_are_no_host(api: Api) -> None:
    async with served(api.context) as client:
        twice = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        assert (await raw(client, twice)).split()[1] in {b"400", b"421"}
        assert b" 421 " in await raw(client, b"GET /healthz HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"Origin": "https://evil.example"}, b"", 403),
        ({"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}, b"{}", 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"reason=x", 415),
        ({"Content-Type": "text/plain"}, b'{"reason": "x"}', 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b", 400),
        ({"Content-Type": "application/json"}, b'{"reason": ', 400),
        ({"Content-Type": "application/json"}, b'{"reason": NaN}', 400),
        ({"Content-Type": "application/json"}, b'{"reason": "a", "reason": "b"}', 400),
        ({"Content-Type": "application/json"}, b"[" * 500_000, 400),
        ({"Content-Type": "application/json"}, b'{"reason": "\xff"}', 400),
        ({"Content-Type": "application/json"}, b"null", 200),
        ({}, b"", 200),
    ],
)
async def test_writes_come_as_json_of_programs(
    api: Api, headers: dict[str, str], data: bytes, status: int
) -> None:
    api.add("daily")
    async with served(api.context) as client:
        async with client.post(
            f"{SCHEDULERS}/daily/pause", headers=headers, data=data, skip_auto_headers=["Content-Type"]
        ) as answer:
            assert answer.status == status
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert api.get(f"{SCHEDULERS}/daily")["paused"] is (status == 200)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_its_limit_whether_it_tells_its_length_or_not(api: Api, chunked: bool) -> None:
    api.add("daily")
    too_long = b" " * (bodies.MOST_BYTES + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(too_long), 100_000):
            yield too_long[start : start + 100_000]

    async with (
        served(api.context) as client,
        client.post(
            f"{SCHEDULERS}/daily/pause",
            data=chunks() if chunked else io.BytesIO(too_long),
            headers={"Content-Type": "application/json"},
        ) as answer,
    ):
        assert answer.status == 413


async def test_what_is_not_http_is_answered_and_closed(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    async with served(api.context) as client:
        told = await raw(client, b"\x16\x03\x01 hello\r\n\r\n")
        bytes_in_path = await raw(
            client, b"GET /\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
    head, body = told.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400")
    assert json.loads(body)["detail"] == "this is not a valid HTTP request"
    assert bytes_in_path.split()[1] in {b"400", b"404"}
    assert not [record for record in caplog.records if record.exc_info]


async def test_head_is_get_without_a_body(api: Api) -> None:
    async with served(api.context) as client, client.head("/readyz") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0


async def test_a_slow_client_is_given_up_and_delays_nobody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RECEIVE", 0.3)
    async with served(api.context) as client:
        slow_head, slow_body = await connected(client), await connected(client)
        slow_head[1].write(b"GET /healthz HTTP/1.1\r\nHost: loc")
        slow_body[1].write(
            f"POST {SCHEDULERS}/x/pause HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{".encode()
        )
        async with client.get("/readyz") as answer:
            assert answer.status == 200
        assert await asyncio.wait_for(slow_head[0].read(), 10) == b""
        assert b" 408 " in await asyncio.wait_for(slow_body[0].readline(), 10)
        slow_head[1].close()
        slow_body[1].close()


async def test_a_client_that_does_not_read_is_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND", 0.3)
    lost, connection_lost = asyncio.Event(), server._Server.connection_lost

    def told(of: server._Server, handler: Any, error: BaseException | None = None) -> None:
        connection_lost(of, handler, error)
        lost.set()

    monkeypatch.setattr(server._Server, "connection_lost", told)
    long_answer = {"creates": ["x" * 30_000_000]}
    async with served(api.having(plan=lambda: long_answer).context) as client:
        _, writer = await connected(client)
        writer.write(b"GET /api/v1/sync/plan HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.wait_for(lost.wait(), 10)
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"])
async def test_a_client_that_goes_away_is_no_error(
    api: Api, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def sync(_: object) -> dict[str, Any]:
        asked.set()
        gone.wait(20)
        return {"creates": ["x" * 30_000_000]}

    async with served(api.having(sync=sync).context) as client:
        _, writer = await connected(client)
        writer.write(b"POST /api/v1/sync HTTP/1.1\r\nHost: localhost\r\n" + (sent or b"\r\n"))
        if not sent:
            assert await asyncio.to_thread(asked.wait, 10)
        await writer.drain()
        writer.transport.abort()
        async with client.get("/readyz") as answer:  # by now the server knows
            assert answer.status == 200
        gone.set()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_slow_clients_make_room_for_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    async with served(api.context) as client:
        slow = [await connected(client) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"GET /healthz HTTP/1.1\r\n")
        async with client.get("/readyz") as answer:
            assert answer.status == 200
        dropped = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in slow[:15])), 10)
        assert dropped == [b""] * 15
        for _, writer in slow:
            writer.close()


async def test_a_client_that_is_worked_for_is_not_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    begun, over = threading.Event(), threading.Event()

    def plan() -> dict[str, Any]:
        begun.set()
        over.wait(20)
        return {"creates": []}

    async with served(api.having(plan=plan).context) as client:
        working = asyncio.create_task(client.get("/api/v1/sync/plan"))
        assert await asyncio.to_thread(begun.wait, 10)
        others = [await connected(client) for _ in range(10)]
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        over.set()
        async with await working as answer:
            assert await answer.json() == {"creates": []}
        for _, writer in others:
            writer.close()


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_all_schedules_are_streamed(api: Api, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(schedulers, "PART", 2)
    for n in range(count):
        api.add(f"s{n}")
    async with served(api.context) as client:
        async with client.get(f"{SCHEDULERS}/all?sort=-name") as answer:
            assert [item["name"] for item in await answer.json()] == [f"s{n}" for n in reversed(range(count))]
            assert "Content-Length" not in answer.headers
        async with client.head(f"{SCHEDULERS}/all") as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_a_list_that_breaks_off_is_no_valid_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "PART", 1)
    for n in range(3):
        api.add(f"s{n}")
    among, seen = schedule_pages.among, []

    def break_off(session: Session, ids: list[int]) -> list[ScheduleRow]:
        seen.append(ids)
        if len(seen) > 1:
            raise DatabaseUnavailable("gone")
        return among(session, ids)

    monkeypatch.setattr(schedule_pages, "among", break_off)
    async with served(api.context) as client, client.get(f"{SCHEDULERS}/all") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_liveness_is_told_while_every_thread_waits(api: Api) -> None:
    over = threading.Event()

    def plan() -> dict[str, Any]:
        over.wait(20)
        return {}

    async with served(api.having(plan=plan).context) as client:
        waiting = [asyncio.create_task(client.get("/api/v1/sync/plan")) for _ in range(server.THREADS)]
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        over.set()
        for task in waiting:
            async with await task as answer:
                assert answer.status == 200


async def test_one_key_is_one_run_however_many_ask_at_once(api: Api) -> None:
    api.add("daily")
    async with served(api.context) as client:

        async def trigger() -> str:
            async with client.post(
                f"{SCHEDULERS}/daily/trigger", headers={"Idempotency-Key": "deploy-7"}
            ) as answer:
                assert answer.status == 202
                return str((await answer.json())["task_id"])

        assert len(set(await asyncio.gather(*(trigger() for _ in range(20))))) == 1
    assert api.read(lambda session: session.scalar(select(func.count()).select_from(RunRow))) == 1


async def test_what_is_in_flight_when_it_stops_is_answered(api: Api) -> None:
    begun, over = threading.Event(), threading.Event()

    def plan() -> dict[str, Any]:
        begun.set()
        over.wait(20)
        return {"creates": []}

    http, stop = HttpServer(api.having(plan=plan).context), asyncio.Event()
    task = asyncio.create_task(http.run(stop))
    await asyncio.wait_for(http.listening.wait(), 10)
    async with aiohttp.ClientSession(http.addresses[0]) as client:
        working = asyncio.create_task(client.get("/api/v1/sync/plan"))
        assert await asyncio.to_thread(begun.wait, 10)
        stop.set()
        asyncio.get_running_loop().call_soon(over.set)
        async with await asyncio.wait_for(working, 10) as answer:
            assert answer.status == 200
    await asyncio.wait_for(task, 10)
