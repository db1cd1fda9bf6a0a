"""An installation as an operator has it: files, a daemon, workers, Beat; and what the tables and the effects say.

Effects are counted outside the database: the task `t.effect` appends its run's id to a file when its body begins.
"""

import logging
import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, select

from taskd.store import leases
from taskd.store.claims import ACTIVE
from taskd.store.tables import RunRow, ScheduleRow
from tests import services
from tests.acceptance.processes import TASKD, Running
from tests.integration.workers import ROOT, Site
from tests.waiting import eventually

LEASE = 3  # seconds: the shortest that is allowed, so a killed leader is replaced soon
START = 30.0  # seconds for a process to come up on a machine that has much to do
figures = logging.getLogger("tests.figures")  # for who wants them: pytest --log-cli-level INFO
LEADS = "took the dispatch lease"
CELERY = [TASKD[0], "-m", "celery", "-A", "taskd.celery_app"]


class Installation(Site):
    """Settings, tables and processes; whatever of it still runs at the end is killed."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = services.free_port()
        self.schedules = folder / "schedules"
        self.schedules.mkdir()
        self._processes: list[Running] = []
        environ = {
            "PYTHONPATH": str(ROOT),  # for t.effect
            "TASKD_SCHEDULES__PATHS": str(self.schedules),
            "TASKD_HTTP__BIND": f"127.0.0.1:{self.port}",
            "TASKD_LEASE__TTL": f"{LEASE}s",
            **settings,
        }
        super().__init__(folder, environ)

    def declare(self, file: str, text: str) -> None:
        """Save a file of schedules as an editor does."""
        (self.schedules / file).write_text(text)

    def beats(self, *names: str, every: str = "1s", seconds: float = 0) -> None:
        """Declare schedules that leave an effect and then take `seconds`."""
        lines = [
            f"  {name}: {{task: t.effect, interval: {every}, args: [{seconds}]}}\n" for name in sorted(names)
        ]
        self.declare("beats.yaml", "schedules:\n" + "".join(lines))

    def start(self, command: list[str], **settings: str) -> Running:
        """A process of this installation."""
        process = Running(command, self.folder, **{**self.environ, **settings})
        self._processes.append(process)
        return process

    def daemon(self, *words: str, until: str = "ready, ", **settings: str) -> Running:
        """`taskd run`, once it has said that it is ready."""
        return said(self.start([*TASKD, "run", *words], **settings), until)

    def beat(self) -> Running:
        """Celery's own Beat program over the table."""
        return self.start([*CELERY, "beat", "-S", "taskd", "--loglevel", "INFO"])

    def worker(self, *words: str) -> Running:
        """`taskd worker` with two slots."""
        return said(self.start([*TASKD, "worker", "--concurrency", "2", *words]), "ready.")

    def schedule(self, name: str) -> ScheduleRow | None:
        """A schedule as the table has it, also when it is deleted."""
        query = select(ScheduleRow).where(ScheduleRow.name == name)
        return self.database.read(lambda session: session.scalars(query).one_or_none())

    def runs(self, name: str | None = None, *statuses: str) -> list[RunRow]:
        """The rows of one schedule or of all, in the order in which they were due."""
        query = select(RunRow).order_by(RunRow.scheduled_for)
        query = query.where(RunRow.schedule_name == name) if name else query
        query = query.where(RunRow.status.in_(statuses)) if statuses else query
        return self.database.read(lambda session: list(session.scalars(query)))

    def holder(self, lease: str = "dispatch") -> str | None:
        """Who leads, as the table has it."""
        return self.database.read(lambda session: leases.read(session, lease)).holder

    def any_run(self, *where: ColumnElement[bool]) -> bool:
        """Whether there is such a row."""
        query = select(RunRow.id).where(*where).limit(1)
        return self.database.read(lambda session: session.scalar(query)) is not None

    def goes_on(self, name: str, within: float = 20.0) -> None:
        """Wait until an occurrence that isn't due yet has run."""
        later = (
            RunRow.schedule_name == name,
            RunRow.status == "SUCCESS",
            RunRow.scheduled_for > datetime.now(UTC),
        )
        eventually(lambda: self.any_run(*later), within)

    def catches_up(self, within: float = 60.0) -> None:
        """Wait until all that was decided by now has ended; deciding goes on."""
        open_now = (RunRow.status.in_(ACTIVE), RunRow.decided_at <= datetime.now(UTC))
        eventually(lambda: not self.any_run(*open_now), within)

    def settle(self, within: float = 60.0) -> list[RunRow]:
        """All runs, once the workers have ended what was decided."""
        eventually(lambda: not self.any_run(RunRow.status.in_(ACTIVE)), within)
        return self.runs()

    def kill_all(self) -> None:
        """The end of the test."""
        for process in self._processes:
            kill_group(process)
        self.database.close()
        self.app.close()


def said(process: Running, words: str, within: float = START) -> Running:
    """The process, once its output has these words; it must not end before."""
    eventually(lambda: words in process.output or process.ended(), within)
    assert words in process.output, process.output
    return process


def kill(process: Running) -> None:
    """kill -9 of the main process alone."""
    process.process.kill()
    process.process.wait()


def kill_group(process: Running) -> None:
    """kill -9 of the main process and all its children, as when a machine fails."""
    with suppress(ProcessLookupError):
        os.killpg(process.process.pid, signal.SIGKILL)
    process.process.wait()


def live_on(process: Running, seconds: float) -> None:
    """Let it work for so long; it must not end by itself."""
    with suppress(subprocess.TimeoutExpired):
        code = process.process.wait(seconds)
        raise AssertionError(f"it ended with {code}:\n{process.output}")


def due(schedule: ScheduleRow) -> Counter[datetime]:
    """Every occurrence of an interval from the schedule's birth to what was decided last, counted by arithmetic."""
    assert schedule.interval_seconds
    assert schedule.cursor_at
    step = schedule.interval_seconds
    first, last = (int(at.timestamp()) // step for at in (schedule.created_at, schedule.cursor_at))
    return Counter(datetime.fromtimestamp(k * step, UTC) for k in range(first + 1, last + 1))


def covered(runs: list[RunRow], step: timedelta = timedelta(seconds=1)) -> Counter[datetime]:
    """How many rows cover each occurrence, the stretches of MISSED rows written out."""
    counted: Counter[datetime] = Counter()
    for run in runs:
        assert run.scheduled_for
        if run.status != "MISSED":
            counted[run.scheduled_for] += 1
            continue
        assert run.detail
        first, last = (datetime.fromisoformat(run.detail[key]) for key in ("from", "to"))
        stretch = [first + k * step for k in range(run.detail["count"])]
        assert stretch[-1] == last == run.scheduled_for
        counted.update(stretch)
    return counted


def assert_each_once(place: Installation, *names: str) -> int:
    """Every due time of these schedules has one row, every SUCCESS one effect; how many occurrences that were."""
    count = 0
    for name in names:
        schedule = place.schedule(name)
        assert schedule
        expected = due(schedule)
        assert covered(place.runs(name), timedelta(seconds=schedule.interval_seconds or 0)) == expected
        count += expected.total()
    assert_effects(place)
    return count


def assert_effects(place: Installation) -> None:
    """What was begun stands in the table: once for SUCCESS, at most once for LOST, never for anything else."""
    begun = Counter(place.started())
    runs = [run for run in place.runs() if run.task_name == "t.effect"]
    assert {run.task_id for run in runs if run.status == "SUCCESS"} <= begun.keys()
    assert begun.keys() <= {run.task_id for run in runs if run.status in {"SUCCESS", "LOST"}}
    assert set(begun.values()) <= {1}
