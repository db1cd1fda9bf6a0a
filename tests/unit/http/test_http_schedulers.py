from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from taskd.store.schedules import Origin
from taskd.store.tables import EventRow, OutboxRow, RunRow, ScheduleRow
from tests.unit.http.conftest import SCHEDULERS, Api

COLUMNS = {
    "id", "uid", "name", "task", "schedule_type", "crontab", "interval_seconds", "start_time", "end_time",
    "timezone", "args", "kwargs", "description", "enabled", "one_off", "max_run_count", "options", "policy",
    "labels", "owner", "source", "path", "line", "fingerprint", "version", "created_at", "updated_at", "paused_at",
    "paused_by", "paused_reason", "paused_until", "last_run_at", "total_run_count", "cursor_at", "next_run_at",
    "failures_in_a_row", "state", "state_detail", "conditions", "deleted_at", "paused",
}  # fmt: skip


def names(body: Any) -> list[str]:
    return [item["name"] for item in body["items"]]


def test_a_schedule_has_the_columns_of_the_table(api: Api) -> None:
    api.add("daily", kwargs={"n": 1})
    (item,) = api.get(SCHEDULERS)["items"]
    assert item.keys() == COLUMNS
    assert item["state"] == "active"
    assert item["paused"] is False
    assert item["kwargs"] == {"n": 1}
    assert item["next_run_at"] == "2026-01-01T00:05:00+00:00"


def test_pages_follow_each_other(api: Api) -> None:
    for name in "abcde":
        api.add(name)
    first = api.get(f"{SCHEDULERS}?size=2&task=demo.echo")
    assert {key: first[key] for key in ("total", "page", "size", "prev")} == {
        "total": 5, "page": 1, "size": 2, "prev": None,
    }  # fmt: skip
    second = api.get(first["next"])
    last = api.get(second["next"])
    assert [names(first), names(second), names(last)] == [["a", "b"], ["c", "d"], ["e"]]
    assert last["next"] is None
    assert api.get(last["prev"]) == second


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=ep", ["Reports"]),
        ("name=rep", []),
        ("name=%25", ["100%"]),
        ("task=other.task", ["100%"]),
        ("enabled=false", ["Reports"]),
        ("paused=true", ["nightly"]),
        ("paused=false", ["100%", "Reports"]),
        ("state=disabled", ["Reports"]),
        ("owner=api", ["nightly"]),
        ("schedule_type=interval", ["nightly"]),
        ("label=team:data", ["100%", "nightly"]),
        ("label=team:data&label=tier:1", ["nightly"]),
        ("sort=-name", ["nightly", "Reports", "100%"]),
        ("sort=id", ["Reports", "nightly", "100%"]),
        ("sort=next_run_at", ["100%", "Reports", "nightly"]),
    ],
)
def test_filters_and_orders(api: Api, query: str, found: list[str]) -> None:
    api.add("Reports", enabled=False)
    api.add("nightly", Origin("api"), interval="1h", labels={"team": "data", "tier": "1"})
    api.add("100%", task="other.task", labels={"team": "data"})
    api.ask("POST", f"{SCHEDULERS}/nightly/pause")
    assert names(api.get(f"{SCHEDULERS}?{query}")) == found
    assert [item["name"] for item in api.get(f"{SCHEDULERS}/all?{query}")] == found


@pytest.mark.parametrize("name", ["每日报表任务", "Café", "a b+c%41?&#", "...", "🚀", "%2e%2e%2f"])
def test_a_name_in_any_script_is_a_path(api: Api, name: str) -> None:
    pk = api.add(name)
    assert api.get(f"{SCHEDULERS}/{quote(name, safe='')}")["id"] == pk
    assert api.get(f"{SCHEDULERS}/{pk}")["name"] == name


def test_a_name_is_found_however_its_accents_are_encoded(api: Api) -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    pk = api.add(composed)
    assert api.get(f"{SCHEDULERS}/{quote(decomposed)}")["id"] == pk
    assert names(api.get(f"{SCHEDULERS}?name={quote(decomposed)}")) == [composed]


def test_one_schedule_comes_with_its_next_and_last_runs(api: Api) -> None:
    pk = api.add("hourly", crontab="0 * * * *", timezone="Asia/Shanghai")
    for n in range(12):
        api.ran(f"run-{n}", schedule_id=pk, schedule_name="hourly")
    body = api.get(f"{SCHEDULERS}/hourly")
    assert body.keys() == COLUMNS | {"next", "runs"}
    assert len(body["next"]) == 10
    assert body["next"][0].keys() == {"scheduled_for", "local", "note"}
    assert [run["task_id"] for run in body["runs"]] == [f"run-{n}" for n in range(11, 1, -1)]


def test_coming_occurrences_tell_what_the_clocks_do(api: Api) -> None:
    api.add("early", crontab="30 2 * * *", timezone="Europe/Berlin")
    body = api.get(f"{SCHEDULERS}/early/next?n=2&from=2026-03-28T00:00:00Z")
    assert body["items"] == [
        {"scheduled_for": "2026-03-28T01:30:00+00:00", "local": "2026-03-28T02:30:00+01:00", "note": None},
        {
            "scheduled_for": "2026-03-29T01:00:00+00:00",
            "local": "2026-03-29T03:00:00+02:00",
            "note": "moved from 02:30, which the clocks skip",
        },
    ]


def test_an_unencoded_plus_in_an_offset_is_understood(api: Api) -> None:
    api.add("daily", crontab="0 0 * * *")
    (due,) = api.get(f"{SCHEDULERS}/daily/next?n=1&from=2026-05-01T08:00:00+08:00")["items"]
    assert due["scheduled_for"] == "2026-05-02T00:00:00+00:00"


def test_no_more_occurrences_come_than_the_limit_leaves(api: Api) -> None:
    pk = api.add("thrice", max_run_count=3)
    api.change(pk, total_run_count=1)
    assert len(api.get(f"{SCHEDULERS}/thrice/next")["items"]) == 2


def test_a_schedule_that_cannot_be_evaluated_is_still_shown(api: Api) -> None:
    pk = api.add("broken")
    api.change(pk, crontab="nonsense", state="quarantined", state_detail="crontab 'nonsense' is none")
    body = api.get(f"{SCHEDULERS}/broken")
    assert (body["state"], body["next"]) == ("quarantined", [])


def test_pause_and_resume_say_who_and_why_and_can_be_repeated(api: Api) -> None:
    api.add("daily")
    for _ in range(2):
        paused = api.ask("POST", f"{SCHEDULERS}/daily/pause", {"reason": "migration"})
        assert paused.status == 200
        assert {key: paused.body[key] for key in ("paused", "state", "paused_by", "paused_reason", "version")} == {
            "paused": True, "state": "paused", "paused_by": "ada", "paused_reason": "migration", "version": 2,
        }  # fmt: skip
    for _ in range(2):
        resumed = api.ask("POST", f"{SCHEDULERS}/daily/resume")
        assert (resumed.status, resumed.body["state"], resumed.body["paused_at"]) == (200, "active", None)
    told = api.read(lambda session: session.scalars(select(EventRow).order_by(EventRow.id)).all())
    assert [(event.kind, event.actor, event.detail) for event in told] == [
        ("paused", "ada", {"reason": "migration"}),
        ("resumed", "ada", None),
    ]


def test_a_pause_ends_by_itself_and_not_in_the_past(api: Api) -> None:
    api.add("daily")
    until = "2999-01-01T00:00:00+00:00"
    paused = api.ask("POST", f"{SCHEDULERS}/daily/pause", {"until": until}).body
    assert (paused["state"], paused["paused_until"]) == ("paused", until)
    late = api.ask("POST", f"{SCHEDULERS}/daily/pause", {"until": "2020-01-01T00:00:00Z"})
    assert (late.status, late.body["detail"]) == (
        422,
        "until: 2020-01-01T00:00:00+00:00 has passed: give a time to come",
    )


def test_a_resume_may_ask_for_what_was_paused(api: Api) -> None:
    api.add("daily")
    cursor = api.get(f"{SCHEDULERS}/daily")["cursor_at"]
    api.ask("POST", f"{SCHEDULERS}/daily/pause")
    resumed = api.ask("POST", f"{SCHEDULERS}/daily/resume", {"catch_up": True}).body
    assert (resumed["state"], resumed["cursor_at"]) == ("active", cursor)


def test_a_trigger_may_ask_not_to_overlap(api: Api) -> None:
    api.add("daily")
    first = api.ask("POST", f"{SCHEDULERS}/daily/trigger").body
    second = api.ask("POST", f"{SCHEDULERS}/daily/trigger", {"overlap": "skip"}).body
    assert (first["status"], second["status"]) == ("PENDING", "SKIPPED")


def test_the_dispatcher_is_woken_once_the_change_is_on_disk(api: Api) -> None:
    api.add("daily")
    seen = []

    def wake() -> None:
        seen.append(api.read(lambda session: session.scalar(select(ScheduleRow.state))))

    api.having(wake=wake).ask("POST", f"{SCHEDULERS}/daily/pause")
    assert seen == ["paused"]


def test_start_clears_a_pause_and_enables_what_the_api_owns(api: Api) -> None:
    api.add("mine", Origin("api"), enabled=False)
    api.ask("POST", f"{SCHEDULERS}/mine/pause")
    started = api.ask("POST", f"{SCHEDULERS}/mine/start")
    assert (started.status, started.body["state"], started.body["enabled"]) == (200, "active", True)


def test_start_does_not_overrule_a_file(api: Api) -> None:
    api.add("off", enabled=False)
    refused = api.ask("POST", f"{SCHEDULERS}/off/start")
    assert refused.status == 409
    assert (refused.body["path"], refused.body["line"]) == ("schedules/a.yaml", 3)
    assert "schedules/a.yaml:3" in refused.body["detail"]
    assert api.woken == []


def test_trigger_writes_a_run_to_the_outbox_with_its_own_arguments(api: Api) -> None:
    api.add("daily", args=["usual"], enabled=False)
    told = api.ask("POST", f"{SCHEDULERS}/daily/trigger", {"args": ["this once"], "kwargs": {"n": 2}})
    assert told.status == 202
    assert told.body.keys() == {"id", "task_id", "status"}
    run = api.read(lambda session: session.scalars(select(RunRow)).one())
    assert (run.task_id, run.kind, run.args, run.kwargs) == (
        told.body["task_id"], "manual", ["this once"], {"n": 2},
    )  # fmt: skip
    assert api.read(lambda session: session.scalars(select(OutboxRow.run_id)).all()) == [told.body["id"]]
    assert api.woken == [1]


def test_what_cannot_be_serialised_is_not_run(api: Api) -> None:
    api.change(api.add("daily"), options={"serializer": "gone"})
    told = api.ask("POST", f"{SCHEDULERS}/daily/trigger")
    assert (told.status, told.body["path"], told.body["line"]) == (409, "schedules/a.yaml", 3)
    assert "No encoder installed for gone" in told.body["detail"]
    assert api.read(lambda session: session.scalar(select(func.count()).select_from(RunRow))) == 0


def test_the_same_idempotency_key_gives_the_same_run(api: Api) -> None:
    api.add("daily")
    first, again, other = (
        api.ask("POST", f"{SCHEDULERS}/daily/trigger", headers={"Idempotency-Key": key}).body
        for key in ("deploy-7", "deploy-7", "deploy-8")
    )
    assert first == again
    assert other["task_id"] != first["task_id"]
    assert api.read(lambda session: session.scalar(select(func.count()).select_from(RunRow))) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "\udcff"])
def test_an_impossible_idempotency_key_is_refused(api: Api, key: str) -> None:
    api.add("daily")
    assert api.ask("POST", f"{SCHEDULERS}/daily/trigger", headers={"Idempotency-Key": key}).status == 400


def test_a_schedules_history_is_its_own_and_pages(api: Api) -> None:
    pk = api.add("daily")
    for n in range(3):
        api.ran(f"mine-{n}", schedule_id=pk, scheduled_for=datetime(2026, 1, n + 1, tzinfo=UTC))
    api.ran("other", schedule_id=pk + 1)
    body = api.get(f"{SCHEDULERS}/daily/runs?size=2")
    assert [run["task_id"] for run in body["items"]] == ["mine-2", "mine-1"]
    assert [run["task_id"] for run in api.get(body["next"])["items"]] == ["mine-0"]
