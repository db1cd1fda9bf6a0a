"""Several daemons on one database and one broker, each behind proxies of its own; workers; and what they leave."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select

from taskd.store.tables import RunRow, ScheduleRow
from tests import services
from tests.acceptance.installations import Installation, kill_group, said
from tests.acceptance.processes import TASKD, Running
from tests.chaos.checker import Facts, Run, Schedule, Start
from tests.integration.workers import ROOT
from tests.proxy import Proxy

LED = re.compile(r"took the dispatch lease, epoch (\d+)")
TASK = "t.witness"


class Replica:
    """One daemon, started again and again, and its two ways out."""

    def __init__(self, place: Installation, number: int, environ: Mapping[str, str]) -> None:
        self.database = Proxy(_address(place.environ["TASKD_DATABASE__URL"]))
        self.broker = Proxy(_address(place.environ["TASKD_BROKER__URL"]))
        self.process: Running | None = None
        self.former: list[Running] = []
        self._place = place
        self._environ = {
            "TASKD_STATE_DIR": str(place.folder / f"state{number}"),
            "TASKD_HTTP__BIND": f"127.0.0.1:{services.free_port()}",
            "TASKD_DATABASE__URL": _through(place.environ["TASKD_DATABASE__URL"], self.database),
            "TASKD_BROKER__URL": _through(place.environ["TASKD_BROKER__URL"], self.broker),
            **environ,
        }

    def start(self) -> None:
        """Another process in the former one's place; it comes up in its own time."""
        if self.process is not None:
            self.former.append(self.process)
        self.process = self._place.start([*TASKD, "run"], **self._environ)

    @property
    def running(self) -> Running:
        """Its present process."""
        assert self.process is not None
        return self.process

    @property
    def name(self) -> str:
        """As its messages' `origin` and its lease's holder say it: the process's number."""
        return str(self.running.process.pid)

    def led(self) -> dict[int, str]:
        """Epoch → process, as their logs have it."""
        processes = [*self.former, self.running]
        return {int(epoch): str(one.process.pid) for one in processes for epoch in LED.findall(one.output)}


class Replicas:
    """The whole installation: `place` has its tables, its files and a direct way to the services."""

    def __init__(self, place: Installation, count: int, stack: ExitStack) -> None:
        self.place = place
        self.all = [Replica(place, number, {}) for number in range(count)]
        skew = {"SKEW": "3600", "PYTHONPATH": f"{ROOT / 'tests' / 'chaos' / 'skewed'}:{ROOT}"}
        self.skewed = Replica(place, count, skew)
        self.workers: list[Running] = []
        for replica in (*self.all, self.skewed):
            stack.callback(replica.database.close)
            stack.callback(replica.broker.close)

    def start(self, workers: int) -> None:
        """Everything; returns once somebody leads and the workers work."""
        for replica in (*self.all, self.skewed):
            replica.start()
        for number in range(workers):
            self.workers.append(self.new_worker(number))
        for worker in self.workers:
            said(worker, "ready.")
        said(self.skewed.running, "this machine's clock is")

    def new_worker(self, number: int) -> Running:
        """A worker process of that number."""
        words = ["--concurrency", "2", "--hostname", f"w{number}@chaos"]
        return self.place.start([*TASKD, "worker", *words])

    def leader(self) -> Replica | None:
        """Who leads, as the table has it."""
        holder = self.place.holder() or ""
        pid = holder.split(":")[1] if holder else ""
        return next((replica for replica in self.all if replica.process and replica.name == pid), None)

    def facts(self, journal: Path) -> Facts:
        """What there is to check."""
        lines = [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []
        replicas = (*self.all, self.skewed)
        return Facts(
            schedules=self.place.database.read(
                lambda session: [_schedule(row) for row in session.scalars(select(ScheduleRow))]
            ),
            runs=self.place.database.read(
                lambda session: [_run(row) for row in session.scalars(select(RunRow).order_by(RunRow.id))]
            ),
            starts=[Start(task_id, origin.split("@")[0].removeprefix("gen")) for task_id, origin in lines],
            leaders={epoch: pid for replica in replicas for epoch, pid in replica.led().items()},
        )

    def kill(self) -> None:
        """The end, whatever stands."""
        for replica in (*self.all, self.skewed):
            if replica.process is not None:
                kill_group(replica.process)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 0


def _through(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()


def _schedule(row: ScheduleRow) -> Schedule:
    step = timedelta(seconds=row.interval_seconds or 0)
    return Schedule(row.name, step, row.created_at, row.cursor_at)


def _run(row: RunRow) -> Run:
    stretch = None
    if row.status == "MISSED" and row.detail and "from" in row.detail:
        first, last = (datetime.fromisoformat(row.detail[key]) for key in ("from", "to"))
        stretch = (first, last, int(row.detail["count"]))
    assert row.scheduled_for
    return Run(row.schedule_name or "", row.task_id, row.scheduled_for, row.status, stretch)
