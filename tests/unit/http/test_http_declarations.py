"""Schedules that the API owns: made, replaced, merged, deleted, and never taken from a file."""

import threading
from typing import Any

import pytest
from sqlalchemy import select

from taskd.schedule.declaration import declaration_of
from taskd.source.yamlfile import read_file
from taskd.store.schedules import Origin
from taskd.store.tables import EventRow, ScheduleRow
from tests.unit.http.conftest import SCHEDULERS, Api

DAILY = {
    "name": "每日报表任务",
    "task": "backend.app.task.tasks.tasks.my_scheduled_task",
    "schedule_type": "crontab",
    "crontab": "0 9 * * *",
    "timezone": "Asia/Shanghai",
    "args": ["daily_report"],
    "kwargs": {"param2": 100},
    "description": "生成每日运营报表",
    "enabled": True,
}
"""The example of the task module's own document."""
BEAT = {"name": "beat", "task": "demo.echo", "interval": "5m"}


def made(api: Api, **declared: Any) -> int:
    told = api.ask("POST", SCHEDULERS, {**BEAT, **declared})
    assert told.status == 201, told.body
    return int(told.body["id"])


def events(api: Api) -> list[EventRow]:
    return api.read(lambda session: list(session.scalars(select(EventRow).order_by(EventRow.id))))


@pytest.mark.parametrize("path", [SCHEDULERS, "/api/v1/scheduler"])
def test_the_seeds_example_is_created_under_both_paths(api: Api, path: str) -> None:
    told = api.ask("POST", path, DAILY)
    assert told.status == 201
    assert told.headers["Location"] == f"{SCHEDULERS}/{told.body['id']}"
    assert {key: told.body[key] for key in DAILY} == DAILY
    assert (told.body["owner"], told.body["state"], told.body["path"]) == ("api", "active", None)
    found = api.ask("GET", told.headers["Location"])
    assert found.headers["ETag"] == told.headers["ETag"]
    assert found.body["next"][0]["local"].endswith("T09:00:00+08:00")
    assert [(row.kind, row.actor, row.name) for row in events(api)] == [("created", "ada", DAILY["name"])]
    assert api.woken


def test_a_schedule_that_names_no_zone_has_that_of_the_settings(api: Api) -> None:
    assert api.ask("POST", SCHEDULERS, BEAT).body["timezone"] == "Asia/Shanghai"


@pytest.mark.parametrize(
    "wrong",
    [
        {"crontab": "0 0 30 2 *"},
        {"crontab": "0 9 * *"},
        {"crontab": "* * * * *", "interval": "5m"},
        {},
        {"interval": "0s"},
        {"date": "2030-13-01T00:00"},
        {"interval": "5m", "tsak": "x"},
        {"interval": "5m", "timezone": "Europe/Berln"},
        {"interval": "5m", "args": {}},
        {"interval": "5m", "kwargs": []},
        {"interval": "5m", "enabled": "yes"},
        {"interval": "5m", "overlap": {"polcy": "skip"}},
        {"interval": "5m", "day_match": "and"},
        {"interval": "5m", "max_run_count": -1},
        {"interval": "5m", "time_limit": "10s", "soft_time_limit": "20s"},
        {"interval": "5m", "labels": {"a:b": "c"}},
        {"interval": "5m", "jitter": "x", "priority": 300},
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_files(api: Api, wrong: dict[str, Any]) -> None:
    told = api.ask("POST", SCHEDULERS, {"name": "x", "task": "t.t", **wrong})
    assert told.status == 422
    shown = yaml_of({"x": {"task": "t.t", **wrong}})
    in_file = [problem.message for problem in read_file(shown.encode(), "a.yaml", "Asia/Shanghai").problems]
    assert in_file
    for sentence in in_file:
        assert sentence in told.body["detail"]
    assert len(told.body["errors"]) == len(in_file)
    for error in told.body["errors"]:
        assert error.keys() == {"loc", "msg", "input"}
        assert error["loc"][0] == "body"
        assert error["msg"] in told.body["detail"]
    assert api.get(SCHEDULERS)["total"] == 0


def yaml_of(schedules: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump({"schedules": schedules}, sort_keys=False)


@pytest.mark.parametrize(
    ("body", "loc", "msg"),
    [
        (None, ["body"], "must be a map of keys and values"),
        ([], ["body"], "must be a map of keys and values"),
        ({"task": "t", "interval": 5}, ["body", "name"], "is missing"),
        ({**BEAT, "name": "a/b"}, ["body", "name"], "it can't contain '/'"),
        ({**BEAT, "name": "1"}, ["body", "name"], "looks like an id"),
        ({**BEAT, "name": "all"}, ["body", "name"], "choose another name"),
        ({**BEAT, "name": "x" * 129}, ["body", "name"], "1 to 128 characters"),
        ({**BEAT, "kwargs": {"password": "******"}}, ["body", "kwargs", "password"], "is the mask that"),
        ({**BEAT, "args": [{"api_key": "******"}]}, ["body", "args", 0, "api_key"], "is the mask that"),
        ({**BEAT, "kwargs": {"n": 2**64}}, ["body", "kwargs", "n"], "must fit in 64 bits"),
        ({**BEAT, "owner": "file"}, ["body", "owner"], "unknown key"),
        ({**BEAT, "description": "\0"}, ["body", "description"], "NUL"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_named(api: Api, body: Any, loc: list[Any], msg: str) -> None:
    told = api.ask("POST", SCHEDULERS, body)
    assert told.status == 422
    assert told.body["errors"][0]["loc"] == loc
    assert msg in told.body["errors"][0]["msg"]


def test_what_is_told_of_a_mistake_has_no_secret(api: Api) -> None:
    told = api.ask(
        "POST", SCHEDULERS, {**BEAT, "kwargs": {"password": 2**70, "deep": {"token": "\0hunter2"}}}
    )
    assert told.status == 422
    assert [error["input"] for error in told.body["errors"]] == ["******", "******"]
    assert "hunter2" not in str(told.body)


def test_a_taken_name_is_a_conflict_that_says_who_has_it(api: Api) -> None:
    api.add("daily")
    told = api.ask("POST", SCHEDULERS, {**BEAT, "name": "daily"})
    assert (told.status, told.body["path"], told.body["line"]) == (409, "schedules/a.yaml", 3)
    pk = made(api)
    assert api.ask("POST", SCHEDULERS, BEAT).body["detail"].endswith(f"already: it has the id {pk}")


def test_of_many_that_create_one_name_at_once_one_does(api: Api) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(api.ask("POST", SCHEDULERS, BEAT).status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] + [409] * 7


def test_a_repeated_key_gives_what_it_gave(api: Api) -> None:
    key = {"Idempotency-Key": "deploy-7"}
    first = api.ask("POST", SCHEDULERS, BEAT, key)
    again = api.ask("POST", SCHEDULERS, BEAT, key)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert api.ask("POST", SCHEDULERS, {**BEAT, "task": "other"}, key).status == 409
    assert api.ask("POST", SCHEDULERS, BEAT, {"Idempotency-Key": "another"}).status == 409
    assert len(events(api)) == 1


def test_what_was_deleted_comes_back_with_its_history(api: Api) -> None:
    pk = made(api)
    api.ran("r1", schedule_id=pk, schedule_name="beat")
    assert api.ask("DELETE", f"{SCHEDULERS}/beat").body["state"] == "deleted"
    assert api.ask("GET", f"{SCHEDULERS}/beat").status == 404
    assert made(api, interval="1h") == pk
    assert [run["task_id"] for run in api.get(f"{SCHEDULERS}/beat")["runs"]] == ["r1"]
    assert [row.kind for row in events(api)] == ["created", "deleted", "restored"]


def test_put_replaces_and_what_it_leaves_out_is_its_default_again(api: Api) -> None:
    made(api, kwargs={"n": 1}, description="x", queue="slow", max_run_count=3)
    told = api.ask("PUT", f"{SCHEDULERS}/beat", {"task": "demo.echo", "crontab": "0 9 * * *"})
    assert told.status == 200
    shown = {key: told.body[key] for key in ("schedule_type", "interval_seconds", "kwargs", "description")}
    assert shown == {"schedule_type": "crontab", "interval_seconds": None, "kwargs": {}, "description": None}
    assert (told.body["options"], told.body["max_run_count"], told.body["version"]) == ({}, 0, 2)
    changed = events(api)[-1]
    assert (changed.kind, changed.before["kwargs"], changed.after["crontab"]) == (
        "updated",
        {"n": 1},
        "0 9 * * *",
    )


def test_put_of_what_is_there_changes_nothing(api: Api) -> None:
    made(api, kwargs={"n": 1})
    told = api.ask("PUT", f"{SCHEDULERS}/beat", {**BEAT, "interval": "300s", "kwargs": {"n": 1}})
    assert (told.status, told.body["version"], len(events(api))) == (200, 1, 1)


@pytest.mark.parametrize(
    ("patch", "found"),
    [
        ({"description": "new"}, {"description": "new", "kwargs": {"a": 1, "b": {"c": 2, "d": 3}}}),
        ({"kwargs": {"a": None, "b": {"c": 5}}}, {"kwargs": {"b": {"c": 5, "d": 3}}, "task": "demo.echo"}),
        ({"kwargs": None}, {"kwargs": {}}),
        ({"crontab": "0 9 * * *"}, {"schedule_type": "crontab", "interval_seconds": None}),
        ({"interval_seconds": 60}, {"schedule_type": "interval", "interval_seconds": 60}),
        ({"date": "2030-01-01T00:00"}, {"schedule_type": "date", "start_time": "2029-12-31T16:00:00+00:00"}),
        ({"enabled": False}, {"enabled": False, "state": "disabled"}),
        ({"labels": {"team": "data"}}, {"labels": {"team": "data", "tier": "1"}}),
        ({"queue": "fast"}, {"options": {"queue": "fast", "priority": 3, "expires": 60}}),
        ({"overlap": "skip"}, {"policy": {"overlap": {"policy": "skip"}, "jitter": 30}}),
        ({"timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
        ({}, {"version": 1}),
    ],
)
def test_patch_merges(api: Api, patch: dict[str, Any], found: dict[str, Any]) -> None:
    made(
        api,
        kwargs={"a": 1, "b": {"c": 2, "d": 3}},
        labels={"tier": "1"},
        queue="slow",
        priority=3,
        expires="1m",
        jitter="30s",
        catchup="latest",
        end_time="2031-01-01T00:00:00Z",
    )
    told = api.ask("PATCH", f"{SCHEDULERS}/beat", patch)
    assert told.status == 200, told.body
    assert {key: told.body[key] for key in found} == found
    assert told.body["end_time"] == "2031-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("patch", "msg"),
    [
        ({"day_match": "and"}, "is for crontabs only"),
        ({"task": None}, "is missing"),
        ({"name": "other"}, "can't be changed"),
        ({"kwargs": {"token": "******"}}, "is the mask"),
        ({"crontab": "0 9 * * *", "interval": "5m"}, "is a second trigger"),
    ],
)
def test_a_patch_that_leaves_something_wrong_changes_nothing(
    api: Api, patch: dict[str, Any], msg: str
) -> None:
    made(api)
    told = api.ask("PATCH", f"{SCHEDULERS}/beat", patch)
    assert told.status == 422
    assert msg in told.body["errors"][0]["msg"]
    assert api.get(f"{SCHEDULERS}/beat")["version"] == 1


def test_the_name_may_be_repeated(api: Api) -> None:
    pk = made(api)
    assert api.ask("PUT", f"{SCHEDULERS}/{pk}", {**BEAT, "description": "x"}).status == 200


@pytest.mark.parametrize(
    "declared",
    [
        {"interval": "90m", "start_time": "2030-01-01T00:00", "one_off": True},
        {
            "crontab": "0 9 1 * MON",
            "day_match": "and",
            "dst": {"gap": "skip"},
            "end_time": "2031-01-01T00:00",
        },
        {"date": "2030-01-01T00:00", "enabled": False, "retry": None},
        {"interval": 7, "catchup": {"policy": "all", "max": 5}, "overlap": {"policy": "buffer", "size": 3}},
        {
            "interval": "1d",
            "jitter": "1m",
            "pause_after_failures": 3,
            "headers": {"x": 1},
            "time_limit": "1m",
        },
    ],
)
def test_what_is_stored_is_declared_as_it_was(api: Api, declared: dict[str, Any]) -> None:
    told = api.ask("POST", SCHEDULERS, {"name": "x", "task": "t.t", "kwargs": {"n": [1, None]}, **declared})
    assert told.status == 201, told.body
    row = api.read(lambda session: session.scalar(select(ScheduleRow)))
    columns = {column.key: getattr(row, column.key) for column in ScheduleRow.__mapper__.column_attrs}
    again = api.ask("PUT", f"{SCHEDULERS}/x", declaration_of(columns))
    assert (again.status, again.body["version"]) == (200, 1), again.body


@pytest.mark.parametrize(("method", "body"), [("PUT", BEAT), ("PATCH", {"task": "x"}), ("DELETE", None)])
def test_a_lost_race_is_412_and_changes_nothing(api: Api, method: str, body: Any) -> None:
    made(api)
    seen = api.ask("GET", f"{SCHEDULERS}/beat").headers["ETag"]
    now = api.ask("POST", f"{SCHEDULERS}/beat/pause").headers["ETag"]
    told = api.ask(method, f"{SCHEDULERS}/beat", body, {"If-Match": seen})
    assert (told.status, told.headers["ETag"]) == (412, now)
    assert api.get(f"{SCHEDULERS}/beat")["task"] == "demo.echo"
    for tags in (f'"0.0", {now}', "*"):
        assert api.ask(method, f"{SCHEDULERS}/beat", body, {"If-Match": tags}).status in {200, 404}


def test_a_fire_leaves_the_etag(api: Api) -> None:
    pk = made(api)
    tag = api.ask("GET", f"{SCHEDULERS}/beat").headers["ETag"]
    api.change(pk, total_run_count=5)
    assert api.ask("GET", f"{SCHEDULERS}/beat").headers["ETag"] == tag


@pytest.mark.parametrize(("method", "body"), [("PUT", BEAT), ("PATCH", {"task": "x"}), ("DELETE", None)])
def test_what_a_file_declares_is_changed_there(api: Api, method: str, body: Any) -> None:
    api.add("daily", Origin("file", "root", "schedules/shop.yaml", 7))
    told = api.ask(method, f"{SCHEDULERS}/daily", body, {"If-Match": '"1.0"'})
    assert (told.status, told.body["path"], told.body["line"]) == (409, "schedules/shop.yaml", 7)
    assert told.body["detail"] == "'daily' is declared in schedules/shop.yaml:7: change it there"
    assert api.get(f"{SCHEDULERS}/daily")["version"] == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_nobody_can_be_declared_anew_who_is_not_there(api: Api, method: str) -> None:
    assert api.ask(method, f"{SCHEDULERS}/nobody", BEAT if method != "DELETE" else None).status == 404


def test_many_are_deleted_with_a_result_for_each(api: Api) -> None:
    api.add("daily")
    one, two = made(api), made(api, name="second")
    told = api.ask("DELETE", SCHEDULERS, {"pks": [two, "beat", one, "nobody", "daily", 10**20]})
    assert told.status == 200
    results = told.body["results"]
    assert [item["pk"] for item in results] == [two, "beat", one, "nobody", "daily", 10**20]
    assert [item["status"] for item in results].count(200) == 2
    assert results[3]["status"] == results[5]["status"] == 404
    assert (results[4]["status"], results[4]["path"], results[4]["line"]) == (409, "schedules/a.yaml", 3)
    assert [item["name"] for item in api.get(SCHEDULERS)["items"]] == ["daily"]


@pytest.mark.parametrize(
    "body",
    [None, {}, {"pks": []}, {"pks": "beat"}, {"pks": [None]}, {"pks": ["\0"]}, {"pks": list(range(1001))}],
)
def test_what_is_to_be_deleted_must_be_said(api: Api, body: Any) -> None:
    made(api)
    assert api.ask("DELETE", SCHEDULERS, body).status == 422
    assert api.get(SCHEDULERS)["total"] == 1


def test_starting_enables_what_the_api_owns(api: Api) -> None:
    made(api, enabled=False)
    told = api.ask("POST", f"{SCHEDULERS}/beat/start")
    assert (told.status, told.body["enabled"], told.body["state"]) == (200, True, "active")
    enabled = events(api)[-1]
    assert (enabled.kind, enabled.before, enabled.after) == ("enabled", {"enabled": False}, {"enabled": True})
