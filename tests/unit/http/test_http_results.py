from datetime import UTC, datetime
from typing import Any

import pytest

from taskd.store import run_pages
from taskd.store.classes import ERROR
from tests.unit.http.conftest import RESULTS, Api

COLUMNS = {
    "id", "task_id", "task_name", "status", "result", "traceback", "args", "kwargs", "started_at", "completed_at",
    "runtime", "worker", "schedule_id", "schedule_name", "scheduled_for", "kind", "decided_at", "published_at",
    "generation", "claim", "queue", "root_id", "progress", "detail", "log",
}  # fmt: skip


def ids(body: Any) -> list[str]:
    return [item["task_id"] for item in body["items"]]


def test_a_run_has_the_columns_of_the_table_by_id_and_by_task_id(api: Api) -> None:
    pk = api.ran("run-1", result={"n": 1}, runtime=0.5, started_at=datetime(2026, 1, 1, tzinfo=UTC))
    run = api.get(f"{RESULTS}/run-1")
    assert run.keys() == COLUMNS
    assert (run["result"], run["runtime"], run["started_at"]) == ({"n": 1}, 0.5, "2026-01-01T00:00:00+00:00")
    assert api.get(f"{RESULTS}/{pk}") == run
    assert api.get(RESULTS)["items"] == [run]


def test_new_runs_do_not_shift_the_pages_that_are_walked(api: Api) -> None:
    for n in range(5):
        api.ran(f"run-{n}")
    first = api.get(f"{RESULTS}?size=2&task_name=demo.echo")
    assert (first["total"], first["page"], first["prev"]) == (5, 1, None)
    api.ran("newer")
    second = api.get(first["next"])
    third = api.get(second["next"])
    assert [ids(first), ids(second), ids(third)] == [["run-4", "run-3"], ["run-2", "run-1"], ["run-0"]]
    assert third["next"] is None
    assert ids(api.get(third["prev"])) == ["run-2", "run-1"]
    back = api.get(second["prev"])
    assert ids(back) == ["run-4", "run-3"]
    assert ids(api.get(back["prev"])) == ["newer"]


def test_pages_can_be_asked_for_by_number(api: Api) -> None:
    for n in range(5):
        api.ran(f"run-{n}")
    body = api.get(f"{RESULTS}?size=2&page=2")
    assert (ids(body), body["page"]) == (["run-2", "run-1"], 2)
    assert ids(api.get(f"{RESULTS}?size=2&page=9")) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("schedule=nightly", ["a"]),
        ("schedule={id}", ["a"]),
        ("schedule=gone", []),
        ("task_name=demo.fail", ["b"]),
        ("task_id=b", ["b"]),
        ("status=FAILURE", ["b"]),
        ("status=FAILURE&status=SUCCESS", ["b", "a"]),
        ("kind=manual", ["c"]),
        ("queue=reports", ["b"]),
        ("worker=w1", ["c"]),
        ("root_id=r", ["c"]),
        ("from=2026-01-02T00:00:00Z", ["c", "b"]),
        ("to=2026-01-02T00:00:00Z", ["a"]),
        ("from=2026-01-02T08:00:00%2B08:00&to=2026-01-03T00:00:00Z", ["b"]),
    ],
)
def test_filters(api: Api, query: str, found: list[str]) -> None:
    pk = api.add("nightly")
    first, second, third = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
    api.ran(
        "a", schedule_id=pk, schedule_name="nightly", scheduled_for=first, decided_at=third, kind="schedule"
    )
    api.ran("b", task_name="demo.fail", status="FAILURE", queue="reports", started_at=second)
    api.ran("c", status="PENDING", kind="manual", worker="w1", root_id="r", decided_at=third)
    assert ids(api.get(f"{RESULTS}?{query.format(id=pk)}")) == found


def test_runs_of_a_renamed_schedule_are_found_by_its_name_now(api: Api) -> None:
    pk = api.add("new name")
    api.ran("before", schedule_id=pk, schedule_name="old name")
    assert ids(api.get(f"{RESULTS}?schedule=new+name")) == ["before"]


def test_a_long_history_has_an_estimate_for_its_total(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_pages, "EXACT", 3)
    for n in range(5):
        api.ran(f"run-{n}", queue="a" if n else "b")
    told = api.get(f"{RESULTS}?size=2")
    assert (told["total"], told["total_is_estimate"], told["next"] is None) == (5, True, False)
    some = api.get(f"{RESULTS}?queue=a&size=2")
    assert (some["total"], some["total_is_estimate"]) == (3, True)
    few = api.get(f"{RESULTS}?queue=b")
    assert (few["total"], "total_is_estimate" in few) == (1, False)


def test_a_log_is_asked_for_by_itself_and_masked(api: Api) -> None:
    pk = api.ran("run-1", log="one\ntoken=hunter2\n")
    told = {"id": pk, "task_id": "run-1", "status": "SUCCESS", "log": "one\ntoken=******\n"}
    assert api.get(f"{RESULTS}/run-1/log") == told
    assert api.ask("GET", f"{RESULTS}/other/log").status == 404


def test_runs_are_deleted_by_name_but_active_ones(api: Api) -> None:
    first = api.ran("done")
    api.ran("running", status="STARTED")
    told = api.ask("DELETE", RESULTS, {"pks": [first, "running", "nobody", "9" * 30, 10**30, -1]})
    assert [each["status"] for each in told.body["results"]] == [200, 409, 404, 404, 404, 404]
    assert ids(api.get(RESULTS)) == ["running"]


def test_old_runs_are_deleted_in_batches_by_their_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.http.results.BATCH", 2)
    monkeypatch.setattr("taskd.http.results.MOST_AT_ONCE", 4)
    for day in range(1, 8):
        status = "FAILURE" if day == 1 else "SUCCESS"
        api.ran(f"run-{day}", status=status, completed_at=datetime(2026, 1, day, tzinfo=UTC))
    api.ran("active", status="RETRY")
    asked = {"before": "2026-01-07T00:00:00+00:00", "status": ["SUCCESS"]}
    assert api.ask("DELETE", RESULTS, asked).body == {"deleted": 4, "more": True}
    assert api.ask("DELETE", RESULTS, asked).body == {"deleted": 1, "more": False}
    assert ids(api.get(RESULTS)) == ["active", "run-7", "run-1"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "either pks, or before"),
        ({"pks": [1], "before": "2026-01-07T00:00:00+00:00"}, "either pks, or before"),
        ({"pks": [1], "status": ["SUCCESS"]}, "status goes with before"),
        ({"before": "2026-01-07T00:00:00+00:00", "status": ["STARTED"]}, "STARTED runs are active"),
        ({"pks": []}, "at least 1"),
        ({"pks": ["\0"]}, "NUL"),
        ({"pks": ["\ud800"]}, "must be a valid string"),
        ({"pks": ["9" * 5000]}, "at most 155"),
    ],
)
def test_a_deletion_that_is_not_clear_is_refused(api: Api, body: Any, sentence: str) -> None:
    api.ran("done")
    told = api.ask("DELETE", RESULTS, body)
    assert told.status == 422
    assert sentence in str(told.body)
    assert ids(api.get(RESULTS)) == ["done"]


def test_stats_count_and_measure_by_the_hour(api: Api) -> None:
    ended = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    api.ran("a", completed_at=ended, runtime=2.0, started_at=ended, scheduled_for=ended)
    told = api.get("/api/v1/result/stats?bucket=1h&from=2026-01-01T11:10:00Z&to=2026-01-01T13:00:00Z")
    assert [item["from"] for item in told["items"]] == [f"2026-01-01T{hour}:00:00+00:00" for hour in (11, 12)]
    assert told["items"][0] == {
        "from": "2026-01-01T11:00:00+00:00",
        "counts": {},
        "runtime": None,
        "lateness": None,
    }
    assert told["items"][1]["counts"] == {"SUCCESS": 1}
    assert told["items"][1]["runtime"] == pytest.approx({"p50": 2.0, "p95": 2.0, "p99": 2.0}, rel=ERROR)
    assert len(api.get("/api/v1/result/stats")["items"]) == 24
    wide = api.ask("GET", "/api/v1/result/stats?bucket=1s&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z")
    assert wide.status == 400
