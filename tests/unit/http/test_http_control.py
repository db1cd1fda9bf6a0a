"""What is refused before any worker hears of it, and what is told when none answers."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select

from taskd.http import server
from taskd.store import outbox, workers
from taskd.store.outbox import Message
from taskd.store.tables import EventRow, OutboxRow, ScheduleRow
from taskd.worker import control
from taskd.worker.control import Replies
from tests.services import free_port
from tests.unit.http.conftest import RESULTS, SCHEDULERS, Api
from tests.unit.http.test_http_server import served

CONTROL = "/api/v1/control"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers were asked; one of them answers."""
    told: list[Any] = []

    def ask(_app: Celery, command: str, arguments: Any, named: Any, patience: float) -> Replies:
        told.append((command, arguments, named, patience))
        return Replies({"w1@host": {"n": 1}}, {"w2@host": "no, token=hunter2"})

    monkeypatch.setattr(control, "ask", ask)
    return told


def worker(api: Api, name: str = "w1@host", pool: str = "prefork") -> None:
    life = workers.Worker(name, f"{name}-1", "host", 1, pool, ["celery"], ["demo.echo"])
    api.context.database.write(lambda session: workers.sign_on(session, life))


@pytest.mark.parametrize("command", ["shutdown", "pool_restart", "pool_grow", "pool_shrink", "autoscale"])
@pytest.mark.parametrize(
    "body", [None, {}, {"workers": []}, {"workers": "ALL"}, {"workers": [1]}, {"workers": None}]
)
def test_workers_are_named_and_never_all_by_omission(
    api: Api, asked: list[Any], command: str, body: Any
) -> None:
    given = body if body is None or command != "autoscale" else {**body, "min": 1, "max": 2}
    assert api.ask("POST", f"{CONTROL}/{command}", given).status == 422
    assert asked == []


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("pool_grow", {"workers": "all", "n": 0}),
        ("pool_grow", {"workers": "all", "m": 1}),
        ("autoscale", {"workers": "all"}),
        ("autoscale", {"workers": "all", "min": 3, "max": 2}),
        ("shutdown", {"workers": "all", "n": 1}),
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, asked: list[Any], command: str, body: Any) -> None:
    assert api.ask("POST", f"{CONTROL}/{command}", body).status == 422
    assert asked == []


def test_replies_refusals_and_silence_are_told_apart_and_masked(api: Api, asked: list[Any]) -> None:
    worker(api, "w3@host")
    told = api.ask("POST", f"{CONTROL}/pool_grow", {"workers": "all", "n": 2})
    assert told.body == {
        "workers": {"w1@host": {"n": 1}},
        "refused": {"w2@host": "no, token=******"},
        "silent": ["w3@host"],
    }
    assert asked == [("pool_grow", {"n": 2}, None, 1.0)]
    api.ask("POST", f"{CONTROL}/autoscale", {"workers": ["w1@host", "w1@host"], "min": 1, "max": 4})
    assert asked[-1] == ("autoscale", {"max": 4, "min": 1}, ["w1@host"], 1.0)


@pytest.mark.parametrize("query", ["timeout=0", "timeout=11", "timeout=x", "workers=a", "worker="])
def test_a_question_has_its_limits(api: Api, asked: list[Any], query: str) -> None:
    assert api.ask("GET", f"{CONTROL}/inspect/ping?{query}").status == 422
    assert asked == []


def test_a_broker_that_is_away_is_503(api: Api) -> None:
    nowhere = Celery("test", broker=f"amqp://127.0.0.1:{free_port()}", set_as_current=False)
    told = api.having(app=nowhere).ask("GET", f"{CONTROL}/inspect/ping")
    assert (told.status, "Retry-After" in told.headers) == (503, True)


def test_what_has_ended_or_is_not_there_is_not_revoked(api: Api, asked: list[Any]) -> None:
    api.ran("done", status="SUCCESS")
    for verb in ("revoke", "terminate"):
        told = api.ask("POST", f"{CONTROL}/done/{verb}")
        assert (told.status, told.body["detail"]) == (409, "the run done has ended: SUCCESS")
        assert api.ask("POST", f"{CONTROL}/nobody/{verb}").status == 404
        assert api.ask("POST", f"{CONTROL}/{10**30}/{verb}").status == 404
        assert api.ask("POST", f"{CONTROL}/..%2Fshutdown/{verb}").status == 404
    assert api.ask("POST", f"{CONTROL}/done/terminate", {"signal": "STOP"}).status == 422
    assert asked == []


@pytest.mark.parametrize("verb", ["revoke", "terminate"])
@pytest.mark.parametrize("status", ["PENDING", "RETRY"])
def test_what_nobody_runs_ends_at_once_with_its_message(
    api: Api, asked: list[Any], verb: str, status: str
) -> None:
    schedule = api.add("daily")
    pk = api.ran("waiting", status=status, kind="schedule", schedule_id=schedule, detail={"why": 1})
    message = Message.of(b"", {}, {})
    api.context.database.write(lambda session: outbox.put(session, [(pk, message, None)], not_before=NOON))
    told = api.ask("POST", f"{CONTROL}/{pk}/{verb}")
    assert (told.status, told.body) == (200, {"id": pk, "task_id": "waiting", "status": "REVOKED"})
    run = api.get(f"{RESULTS}/waiting")
    assert run["detail"] == {"why": 1, "revoked_by": "ada", "reason": "revoked"}
    assert run["completed_at"] is not None
    assert api.read(lambda session: session.scalar(select(OutboxRow))) is None
    (event,) = api.read(lambda session: list(session.scalars(select(EventRow))))
    assert (event.kind, event.actor, event.name) == (f"run_{verb}d", "ada", "daily")
    assert asked == []
    assert api.woken


def test_a_run_that_runs_is_marked_and_its_worker_told(api: Api, asked: list[Any]) -> None:
    api.ran("runs", status="STARTED", worker="w1@host", claim="w1@host-1.a")
    assert api.ask("POST", f"{CONTROL}/runs/revoke").status == 202
    (command, arguments, named, _) = asked[0]
    assert (command, arguments["terminate"], named) == ("revoke", False, ["w1@host"])
    assert api.get(f"{RESULTS}/runs")["detail"] == {"revoked_by": "ada"}


@pytest.mark.parametrize("pool", ["solo", "thread"])
def test_a_pool_that_cannot_terminate_is_named_and_nothing_changes(
    api: Api, asked: list[Any], pool: str
) -> None:
    worker(api, pool=pool)
    api.ran("runs", status="STARTED", worker="w1@host", claim="w1@host-1.a")
    told = api.ask("POST", f"{CONTROL}/runs/terminate")
    assert told.status == 409
    assert f"its pool ({pool}) can't end a run" in told.body["detail"]
    assert api.get(f"{RESULTS}/runs")["detail"] is None
    assert asked == []


def test_a_worker_that_does_not_answer_is_504(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.http.control.ENDING", 0.1)
    monkeypatch.setattr(control, "ask", lambda *_: Replies())
    worker(api)
    api.ran("runs", status="STARTED", worker="w1@host", claim="w1@host-1.a")
    told = api.ask("POST", f"{CONTROL}/runs/terminate")
    assert (told.status, told.body["detail"]) == (504, "w1@host, which runs it, does not answer")
    nobody = api.ask("GET", f"{CONTROL}/inspect/active")
    assert (nobody.status, nobody.body["silent"]) == (504, ["w1@host"])


async def test_workers_that_keep_one_waiting_keep_nobody_else(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ASIDE", 0.3)
    over = threading.Event()
    monkeypatch.setattr(control, "ask", lambda *_: over.wait(20))
    async with served(api.context) as client:
        for _ in range(server.THREADS + 2):
            async with client.get(f"{CONTROL}/inspect/active") as answer:
                assert answer.status == 504
        async with client.get(SCHEDULERS) as answer:
            assert answer.status == 200
        over.set()
    assert api.read(lambda session: session.scalar(select(ScheduleRow))) is None
