"""BaseTask without a worker: direct and eager calls, retries, and what it costs to import."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.backends.base import DisabledBackend

from taskd import BaseTask
from taskd.config import Settings
from taskd.worker.recorder import Recording, RecordingBackend, recording
from taskd.worker.retrying import TRANSIENT


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    settings = Settings(state_dir=tmp_path, celery={"task_max_retries": 7})
    app = Celery("t", task_cls=BaseTask, broker="memory://", set_as_current=False)
    app.conf.result_backend = "taskd.worker.recorder:RecordingBackend"
    app.taskd_settings = settings  # type: ignore[attr-defined]
    yield app
    app.close()


def test_direct_and_eager_calls_just_run(app: Celery, tmp_path: Path) -> None:
    @app.task(bind=True, shared=False)
    def add(self: BaseTask, a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert add.apply((1, 2)).get() == 3
    assert add.apply(args=("1",)).status == "FAILURE"
    assert not (tmp_path / "taskd.db").exists()


async def test_an_async_task_is_called_directly_from_both_worlds(app: Celery) -> None:
    @app.task(shared=False)
    async def double(a: int) -> int:
        return 2 * a

    assert await double(2) == 4


def test_an_async_task_runs_to_its_end(app: Celery) -> None:
    @app.task(bind=True, shared=False)
    async def own_name(self: BaseTask) -> str:
        return self.name

    assert own_name() == own_name.name
    assert own_name.apply().get() == own_name.name


def test_transient_errors_are_retried_as_often_as_the_settings_say(app: Celery) -> None:
    tries = []

    @app.task(bind=True, shared=False)
    def away(self: BaseTask) -> None:
        tries.append(self.request.retries)
        raise ConnectionError("away")

    assert away.max_retries == 7
    result = away.apply()
    assert (result.status, tries) == ("FAILURE", list(range(8)))
    assert isinstance(result.result, ConnectionError)


def test_other_errors_are_not_retried(app: Celery) -> None:
    tries = []

    @app.task(shared=False)
    def wrong() -> None:
        tries.append(1)
        raise ValueError("wrong")

    assert wrong.apply().status == "FAILURE"
    assert len(tries) == 1


def test_a_task_says_otherwise_about_its_retries(app: Celery) -> None:
    @app.task(
        shared=False, max_retries=1, autoretry_for=(ValueError,), retry_backoff=False, default_retry_delay=0
    )
    def wrong() -> None:
        raise ValueError("wrong")

    assert wrong.max_retries == 1
    assert wrong.apply().status == "FAILURE"
    assert ConnectionError in TRANSIENT


def test_celerys_own_tasks_are_not_recorded(app: Celery) -> None:
    assert app.tasks["celery.chord_unlock"].max_retries is None
    own = Celery(
        "own", task_cls=BaseTask, broker="memory://", backend="cache+memory://", set_as_current=False
    )
    assert not isinstance(own.tasks["celery.chord_unlock"].backend, Recording)
    own.close()


def test_the_applications_own_backend_stays_what_it_is() -> None:
    app = Celery(
        "own", task_cls=BaseTask, broker="memory://", backend="cache+memory://", set_as_current=False
    )

    @app.task(shared=False)
    def nothing() -> None: ...

    backend = nothing.backend
    assert isinstance(backend, Recording)
    assert isinstance(backend, type(app.backend))
    assert nothing.backend is backend
    assert not isinstance(backend, RecordingBackend)
    assert not isinstance(app.backend, Recording)
    app.close()


def test_a_record_that_cannot_be_written_never_raises(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    backend = recording(DisabledBackend(app))
    backend.record(
        "id-1", object(), "SUCCESS", None, SimpleNamespace(id="id-1")
    )  # a request of no known shape
    assert "SUCCESS of id-1 is not recorded" in caplog.text


def test_a_pure_part_of_taskd_does_not_import_celery() -> None:
    code = "import sys, taskd.schedule.trigger; sys.exit('celery' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
