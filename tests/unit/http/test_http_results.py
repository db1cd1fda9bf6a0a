from datetime import UTC, datetime
from typing import Any

import pytest

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
