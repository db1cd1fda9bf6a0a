"""The parts of `dev`, and the programs that other commands become."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from taskd import daemon
from taskd.cli import worker_process
from taskd.cli.livelog import LiveLog
from taskd.cli.screen import LogLines, People, Programs
from taskd.cli.worker_process import WorkerProcess
from taskd.store.database import Database
from taskd.store.tables import RunRow
from tests.unit.conftest import Workplace
from tests.waiting import eventually

NINE = datetime(2026, 1, 31, 1, tzinfo=UTC)  # 09:00 in Shanghai
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def database(place: Workplace) -> Iterator[Database]:
    place.taskd("db", "upgrade")
    database = place.database()
    yield database
    database.close()


def add(database: Database, run_id: int, status: str, **columns: Any) -> None:
    run = RunRow(
        id=run_id, task_id=f"t{run_id}", task_name="t", schedule_name="demo", kind="schedule", generation=0
    )
    for key, value in {"status": status, "decided_at": NINE, **columns}.items():
        setattr(run, key, value)
    database.write(lambda session: session.add(run))


def change(database: Database, run_id: int, **columns: Any) -> None:
    values: dict[Any, Any] = columns
    database.write(lambda session: session.query(RunRow).filter_by(id=run_id).update(values))


def test_the_live_log_tells_each_step_once(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    add(database, 1, "SUCCESS")  # before it began: not its business
    log = LiveLog(database, People(SHANGHAI), ["password"])

    def told() -> list[str]:
        asyncio.run(log.run(stopped()))
        return capsys.readouterr().out.splitlines()

    add(database, 2, "PENDING", published_at=NINE)
    assert told() == ["09:00:00  demo  fired"]
    change(database, 2, status="STARTED")
    assert told() == []
    change(database, 2, status="RETRY", traceback="Traceback\nOSError: away")
    [retried] = told()
    assert retried.endswith("  demo  RETRY    OSError: away")
    assert told() == []
    change(
        database,
        2,
        status="SUCCESS",
        traceback=None,
        result={"password": "x"},
        runtime=1.5,
        completed_at=NINE,
    )
    assert told() == ['09:00:00  demo  SUCCESS  1.50 s  {"password": "******"}']
    assert told() == []
    add(database, 3, "FAILURE", published_at=NINE, completed_at=NINE, runtime=1.5, traceback="OSError: away")
    assert told()[1:] == ["09:00:00  demo  FAILURE  1.50 s  OSError: away  (taskd run-show 3)"]


def test_what_ended_between_two_looks_fired_unless_it_was_missed(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LiveLog(database, Programs(), [])
    add(database, 1, "SUCCESS", published_at=NINE, completed_at=NINE)
    add(database, 2, "MISSED", detail={"reason": "window"}, completed_at=NINE)
    asyncio.run(log.run(stopped()))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["event"], each["run"]["id"]) for each in told] == [("fired", 1), ("ended", 1), ("ended", 2)]


def stopped() -> asyncio.Event:
    """An event that is set."""
    stop = asyncio.Event()
    stop.set()
    return stop


def test_log_lines_go_to_people_and_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    for screen in (People(SHANGHAI), Programs()):
        LogLines(screen).handle(
            logging.makeLogRecord({"msg": "x [%s]", "args": ("y",), "levelname": "ERROR"})
        )
    people, programs = capsys.readouterr().out.splitlines()
    assert people[10:] == "error: x [y]"
    assert json.loads(programs) == {"event": "log", "level": "ERROR", "message": "x [y]"}


def python(code: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-u", "-c", code]


STUBBORN = python("import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)")


async def test_a_worker_that_dies_comes_back_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "FIRST_PAUSE", 0.01)
    output, stop = tmp_path / "log", asyncio.Event()
    running = asyncio.create_task(
        WorkerProcess(python("print('up'); exit(3)"), output, lambda: False).run(stop)
    )
    await asyncio.to_thread(eventually, lambda: output.exists() and output.read_text().count("up") == 3)
    stop.set()
    await running
    assert f"the worker ended with status 3, see {output}; again in 0.01 s" in caplog.text
    assert "again in 0.02 s" in caplog.text


@pytest.mark.parametrize(("busy", "told"), [(True, "still busy"), (False, "")])
async def test_a_worker_that_does_not_end_is_killed_once_it_may_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    busy: bool,
    told: str,
) -> None:
    monkeypatch.setattr(worker_process, "HEEDED", 0.05)
    monkeypatch.setattr(worker_process, "PATIENCE", 0.3)
    output, stop = tmp_path / "log", asyncio.Event()
    running = asyncio.create_task(WorkerProcess(STUBBORN, output, lambda: busy).run(stop))
    await asyncio.to_thread(eventually, lambda: output.exists() and output.read_text() == "up\n")
    stop.set()
    async with asyncio.timeout(5):
        await running
    assert told in caplog.text
    assert bool(caplog.text) == busy


async def test_a_worker_that_ends_in_time_is_not_killed(tmp_path: Path) -> None:
    output, stop = tmp_path / "log", asyncio.Event()
    polite = python(
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('bye'))); print('up'); signal.pause()"
    )
    running = asyncio.create_task(WorkerProcess(polite, output, lambda: True).run(stop))
    await asyncio.to_thread(eventually, lambda: output.exists() and output.read_text() == "up\n")
    stop.set()
    await running
    assert output.read_text() == "up\nbye\n"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (
            ["worker", "-c", "4", "--pool", "threads"],
            ["worker", "--loglevel", "WARNING", "-c", "4", "--pool", "threads"],
        ),
        (
            ["beat", "--max-interval", "1"],
            ["beat", "--loglevel", "WARNING", "--scheduler", "taskd", "--max-interval", "1"],
        ),
    ],
)
def test_celery_s_programs_get_their_options_and_our_configuration(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, words: list[str], arguments: list[str]
) -> None:
    (place.folder / "mine.yaml").write_text("logging: {level: WARNING}\n")
    monkeypatch.setenv("TASKD_CONFIG", "")
    place.taskd("db", "upgrade")
    became: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.extend(command))
    place.taskd("-c", "mine.yaml", *words)
    assert became == [sys.executable, "-m", "celery", "-A", "taskd.celery_app", *arguments]
    assert os.environ["TASKD_CONFIG"] == str(place.folder / "mine.yaml")


@pytest.mark.parametrize(("words", "dispatch"), [([], True), (["--no-dispatch"], False)])
def test_run_is_the_daemon_and_exits_as_it_does(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, words: list[str], *, dispatch: bool
) -> None:
    called = []
    monkeypatch.setattr(
        daemon,
        "run",
        lambda settings, *, reread, dispatch: called.append((reread() == settings, dispatch)) or 7,
    )
    place.taskd("run", *words, exits=7)
    assert called == [(True, dispatch)]
