"""Real workers, asked and told over each broker: what the API says is what they did."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select

from taskd.config import load
from taskd.http.exchange import Answer, Context
from taskd.http.routes import answer
from taskd.store.tables import EventRow
from tests import services
from tests.integration.workers import Site, StartWorker, Worker, running
from tests.waiting import eventually

CONTROL = "/api/v1/control"
FORKS, SOLO = "forks@test", "solo@test"


@dataclass
class Fleet:
    """Two workers: one that forks, one whose pool is its only process, at another queue."""

    site: Site
    start: StartWorker
    forks: Worker
    solo: Worker

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """The API's answer."""
        settings = load(None, self.site.environ)
        context = Context(settings=settings, database=self.site.database, app=self.site.app)
        return answer(context, method, path if path[0] == "/" else f"{CONTROL}/{path}", body, actor="ada")

    def inspect(self, what: str) -> Any:
        """What the workers say, once both have."""

        def both() -> Any:
            told = self.ask("GET", f"inspect/{what}?worker={FORKS}&worker={SOLO}&timeout=5")
            return told.body["workers"] if told.status == 200 and len(told.body["workers"]) == 2 else None

        return eventually(both, within=30)

    def processes(self, worker: str = FORKS) -> set[int]:
        """The pool of a worker, as it tells."""
        told = self.ask("GET", f"inspect/stats?worker={worker}&timeout=5")
        return set(told.body["workers"][worker]["pool"]["processes"]) if told.status == 200 else set()

    def begins(self, *args: Any, **options: Any) -> str:
        """Send a run that lasts a minute; its task id, once its body runs."""
        task_id = self.site.send("t.effect", 60, *args, **options)
        eventually(lambda: task_id in self.site.started(), within=30)
        return task_id


@pytest.fixture(scope="module", params=["files", "redis", "rabbitmq"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """At each broker; the last of the tests shuts it down."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        site = Site(folder, _settings(request, stack))
        start = stack.enter_context(running(site))
        forks = start("prefork", "forks")
        solo = start("solo", "solo", "-Q", "other")
        yield Fleet(site, start, forks, solo)


def _settings(request: pytest.FixtureRequest, stack: ExitStack) -> dict[str, str]:
    if request.param == "files":
        return {}
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "rabbitmq":
        return {"TASKD_BROKER__URL": url}
    prefix = f"{services.own_name('control')}:"
    stack.callback(_forget, url, prefix)
    return {"TASKD_BROKER__URL": url, "TASKD_BROKER__REDIS__PREFIX": prefix}


def _forget(url: str, prefix: str) -> None:
    with Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def test_every_worker_is_inspected(fleet: Fleet) -> None:
    task_id = fleet.begins()
    assert fleet.inspect("ping") == {FORKS: "pong", SOLO: "pong"}
    active = fleet.inspect("active")
    assert [(run["id"], run["name"]) for run in active[FORKS]] == [(task_id, "t.effect")]
    assert active[SOLO] == []
    assert fleet.inspect("scheduled") == fleet.inspect("reserved") == {FORKS: [], SOLO: []}
    assert all("t.effect" in tasks for tasks in fleet.inspect("registered").values())
    assert fleet.inspect("stats")[FORKS]["pool"]["max-concurrency"] == 2
    assert [queue["name"] for queue in fleet.inspect("active_queues")[SOLO]] == ["other"]
    ended = fleet.ask("POST", f"{task_id}/terminate")
    assert (ended.status, ended.body["status"]) == (200, "REVOKED")
    assert task_id in fleet.inspect("revoked")[FORKS]


def test_who_does_not_answer_is_named(fleet: Fleet) -> None:
    some = fleet.ask("GET", f"inspect/ping?worker={FORKS}&worker=gone@test&timeout=2")
    assert (some.status, some.body) == (
        200,
        {"workers": {FORKS: "pong"}, "refused": {}, "silent": ["gone@test"]},
    )
    nobody = fleet.ask("GET", "inspect/ping?worker=gone@test&timeout=0.5")
    assert (nobody.status, nobody.body["silent"]) == (504, ["gone@test"])


def test_a_pool_grows_and_shrinks_and_a_refusal_is_told(fleet: Fleet) -> None:
    grown = fleet.ask("POST", "pool_grow", {"workers": [FORKS], "n": 2})
    assert grown.body == {"workers": {FORKS: "pool will grow"}, "refused": {}, "silent": []}
    eventually(lambda: len(fleet.processes()) == 4, within=20)
    fleet.ask("POST", f"{CONTROL}/control/pool_shrink", {"workers": [FORKS], "n": 2})
    eventually(lambda: len(fleet.processes()) == 2, within=20)
    refused = fleet.ask("POST", "pool_grow", {"workers": "all"})
    assert SOLO in refused.body["refused"]
    fleet.ask("POST", "pool_shrink", {"workers": [FORKS]})
    scaled = fleet.ask("POST", "autoscale", {"workers": "all", "min": 1, "max": 2})
    assert all("Autoscale not enabled" in why for why in scaled.body["refused"].values())


@pytest.fixture
def elastic(fleet: Fleet) -> Iterator[str]:
    """The name of a worker that allows what others refuse: it scales, and its pool may be restarted."""
    enabled = {"TASKD_CELERY__CONF": json.dumps({"worker_pool_restarts": True})}
    own = fleet.start("prefork", "elastic", "-Q", "elastic", "--autoscale", "2,2", **enabled)
    yield "elastic@test"
    own.kill()


def test_bounds_are_set_and_a_pool_restarts_where_that_is_enabled(fleet: Fleet, elastic: str) -> None:
    before = eventually(lambda: fleet.processes(elastic), within=30)
    scaled = fleet.ask("POST", "autoscale", {"workers": [elastic], "min": 3, "max": 4})
    assert scaled.body["workers"].keys() == {elastic}
    grown = eventually(lambda: len(now := fleet.processes(elastic)) >= 3 and now, within=30)
    assert before < grown
    told = fleet.ask("POST", "pool_restart", {"workers": [elastic, SOLO]})
    assert told.body["workers"] == {elastic: "reload started"}
    assert "Pool restarts not enabled" in told.body["refused"][SOLO]

    def another_process_works() -> bool:
        fleet.site.send("t.effect", queue="elastic")
        return bool(fleet.processes(elastic) - grown)

    eventually(another_process_works, within=60, pause=0.5)


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_a_run_that_is_terminated_ends_and_its_row_says_so(fleet: Fleet, signal: str) -> None:
    task_id = fleet.begins()
    told = fleet.ask("POST", f"{task_id}/terminate", {"signal": signal})
    assert told.status in {200, 202}
    row = fleet.site.becomes(task_id, "REVOKED")
    assert row.detail is not None
    assert row.detail["revoked_by"] == "ada"
    assert fleet.ask("POST", f"{task_id}/terminate").status == 409
    assert fleet.site.started().count(task_id) == 1


def test_a_pool_that_cannot_terminate_is_named_and_the_run_goes_on(fleet: Fleet) -> None:
    task_id = fleet.site.send("t.effect", 2, queue="other")
    eventually(lambda: task_id in fleet.site.started(), within=30)
    told = fleet.ask("POST", f"{task_id}/terminate")
    assert told.status == 409
    assert f"{SOLO} runs it, and its pool (solo) can't end a run" in told.body["detail"]
    assert fleet.site.becomes(task_id, "SUCCESS").detail is None


def test_what_nobody_has_begun_is_revoked_at_once_and_never_starts(fleet: Fleet) -> None:
    first = fleet.site.send("t.effect", 1, queue="other")
    waiting = fleet.site.send("t.effect", queue="other")
    told = fleet.ask("POST", f"{waiting}/revoke")
    assert (told.status, told.body["status"]) == (200, "REVOKED")
    last = fleet.site.send("t.effect", queue="other")
    assert fleet.site.becomes(last, "SUCCESS", within=30)
    assert fleet.site.becomes(first, "SUCCESS")
    assert waiting not in fleet.site.started()
    assert fleet.site.row(waiting).status == "REVOKED"  # type: ignore[union-attr]


def test_a_run_that_runs_is_not_tried_again_once_it_is_revoked(fleet: Fleet) -> None:
    task_id = fleet.begins()
    told = fleet.ask("POST", f"{task_id}/revoke")
    assert (told.status, told.body["status"]) == (202, "STARTED")
    assert fleet.ask("POST", f"{task_id}/terminate").status in {200, 202}
    fleet.site.becomes(task_id, "REVOKED")


def test_arguments_that_workers_tell_show_no_secret(fleet: Fleet) -> None:
    task_id = fleet.site.send("t.effect", 60)
    hidden = fleet.site.app.send_task("t.secret", kwargs={"seconds": 60, "password": "hunter2"}).id
    eventually(lambda: hidden in str(fleet.inspect("active")), within=30)
    told = fleet.inspect("active")
    assert "hunter2" not in json.dumps(told)
    assert "******" in json.dumps(told)
    for run in (task_id, hidden):
        eventually(lambda run=run: fleet.site.row(run), within=20)
        fleet.ask("POST", f"{run}/terminate")


def test_many_questions_at_once_are_answered(fleet: Fleet) -> None:
    told: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: told.append(fleet.ask("GET", f"inspect/ping?worker={SOLO}&timeout=5").body)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.get("workers") for answer in told] == [{SOLO: "pong"}] * 6


def test_what_was_done_to_workers_stands_in_the_history(fleet: Fleet) -> None:
    fleet.ask("POST", "pool_grow", {"workers": [SOLO]})
    events = fleet.site.database.read(lambda session: list(session.scalars(select(EventRow))))
    told = [(event.kind, event.actor, event.detail) for event in events]
    assert ("workers_pool_grow", "ada", {"workers": [SOLO], "n": 1}) in told
    assert {"workers_pool_grow"} <= {kind for kind, _, _ in told} <= {
        "workers_pool_grow", "workers_pool_shrink", "workers_autoscale", "workers_pool_restart",
        "run_terminated", "run_revoked",
    }  # fmt: skip


def test_a_shutdown_ends_those_that_it_names_and_then_all(fleet: Fleet) -> None:
    told = fleet.ask("POST", "shutdown", {"workers": [SOLO]})
    assert told.body == {"workers": {SOLO: "was told to shut down"}, "refused": {}, "silent": []}
    eventually(lambda: fleet.solo.process.poll() is not None, within=30)
    assert fleet.forks.process.poll() is None
    assert fleet.ask("POST", "shutdown", {"workers": "all"}).status == 200
    eventually(lambda: fleet.forks.process.poll() is not None, within=30)
    assert fleet.ask("GET", "inspect/ping?timeout=0.5").status == 504
