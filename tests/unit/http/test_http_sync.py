"""How the sources stand, as the API tells it: from the database, so that every replica can."""

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from taskd.store import sources
from taskd.store.sources import FileState, Stand
from tests.unit.http.conftest import THEN, Api

COMMIT = {"author": "Ada <ada@x.org>", "subject": "Brew"}


def stand(root: str, revision: str, minutes: int, **wrong: str) -> Stand:
    at = (THEN + timedelta(minutes=minutes)).isoformat()
    outcome = {"at": at, "seconds": 0.1, "revision": revision, "held": int("DeletionHeld" in wrong)}
    return Stand(root, revision, COMMIT, wrong, outcome)


def save(api: Api, *stands: Stand) -> None:
    def work(session: Session) -> None:
        for minute, one in enumerate(stands):
            sources.save(session, one, THEN + timedelta(minutes=minute))

    api.context.database.write(work)


def test_nothing_was_read_yet(api: Api) -> None:
    assert api.get("/api/v1/sync") == {"ready": False, "sources": []}
    assert api.get("/api/v1/sync/history") == {"items": []}


def test_a_source_that_is_ready(api: Api) -> None:
    save(api, stand("jobs", "abc", 0))
    told = api.get("/api/v1/sync")
    assert told["ready"]
    [source] = told["sources"]
    assert source.pop("last_pass")["revision"] == "abc"
    assert source == {
        "root": "jobs",
        "revision_seen": "abc",
        "revision_applied": "abc",
        "applied_commit": COMMIT,
        "conditions": [{"type": "Ready", "since": THEN.isoformat(), "message": "all of it is applied"}],
        "files": 0,
        "broken": [],
        "held": 0,
    }


def test_a_source_that_is_not(api: Api) -> None:
    save(api, stand("jobs", "abc", 0), stand("jobs", "def", 1, Stale="jobs/a.yaml:1:1: no", DeletionHeld="1"))
    files = {
        "jobs/a.yaml": FileState("1", None, "jobs/a.yaml:1:1: no"),
        "jobs/b.yaml": FileState("2", "", None),
    }
    api.context.database.write(lambda session: sources.save_files(session, "jobs", files, ()))
    told = api.get("/api/v1/sync")
    assert not told["ready"]
    [source] = told["sources"]
    assert (source["revision_seen"], source["revision_applied"]) == ("def", "abc")
    assert [condition["type"] for condition in source["conditions"]] == ["Stale", "DeletionHeld"]
    assert (source["files"], source["held"]) == (2, 1)
    assert source["broken"] == [{"path": "jobs/a.yaml", "error": "jobs/a.yaml:1:1: no"}]


def test_history_is_of_all_sources_newest_first(api: Api) -> None:
    save(api, stand("jobs", "a", 0), stand("more", "b", 1), stand("jobs", "c", 2))
    items: list[dict[str, Any]] = api.get("/api/v1/sync/history")["items"]
    assert [(item["root"], item["revision"]) for item in items] == [
        ("jobs", "c"),
        ("more", "b"),
        ("jobs", "a"),
    ]
