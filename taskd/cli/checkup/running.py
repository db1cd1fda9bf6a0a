"""What runs: the broker, the workers with their pools, queues and limits, and the schedule files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from sqlalchemy import select

from taskd.cli import output
from taskd.cli.checkup.finding import Finding, broken, doubtful, fine
from taskd.config import Settings, masked
from taskd.source.tree import Tree
from taskd.store.database import Database
from taskd.store.tables import ScheduleRow, WorkerRow

ANSWER = 2.0  # seconds that workers get to answer
_CANT_LIMIT = ("solo", "thread", "gevent", "eventlet")  # pools that can't end a task that is under way


def broker_findings(app: Celery) -> Iterator[Finding]:
    """Whether it takes a connection; a look must not leave an embedded one behind."""
    url = urlsplit(app.conf.broker_url or "")
    if url.scheme == "files" and not Path(unquote(url.path)).exists():
        yield fine("broker", f"files in {unquote(url.path)}: the first start makes them")
        return
    with app.connection_for_write() as connection:
        where = masked(connection.as_uri())
        try:
            connection.ensure_connection(max_retries=1, timeout=3)
        except Exception as error:  # noqa: BLE001  every transport has its own
            yield broken(
                "broker",
                f"{where} can't be reached: {masked(str(error))}",
                "start it, or set broker.url: runs wait in the outbox until it is back",
            )
        else:
            yield fine("broker", f"{where} answers")


def worker_findings(app: Celery, database: Database) -> Iterator[Finding]:
    """The workers that sign life in the database and answer over the broker, and what none of them does."""
    signed, schedules = database.read(
        lambda session: (
            session.scalars(select(WorkerRow).order_by(WorkerRow.name)).all(),
            session.scalars(select(ScheduleRow).where(ScheduleRow.deleted_at.is_(None))).all(),
        )
    )
    answers: Mapping[str, Any] = app.control.inspect(timeout=ANSWER).stats() or {}
    for row in signed:
        yield _worker(row, answers.get(row.name))
    for name in sorted(set(answers) - {row.name for row in signed}):
        yield doubtful(
            "workers",
            f"{name} answers, but records nothing in this database",
            "let its application's tasks have base=taskd.BaseTask, and give it the same settings",
        )
    if not signed and not answers:
        yield broken("workers", "there is none: nothing that fires is run", "start `taskd worker`")
        return
    yield from _left_out(app, signed, schedules)
    yield from _unlimited(signed, schedules)


def _worker(row: WorkerRow, stats: Mapping[str, Any] | None) -> Finding:
    facts = [f"pool {row.pool.rpartition('.')[2]}", f"queues {', '.join(sorted(row.queues)) or 'none'}"]
    facts.append(f"records {output.counted(len(row.recorded_tasks), 'task')}")
    if stats is None:
        return doubtful(
            "workers",
            f"{row.name} ({'; '.join(facts)}) is known here, but doesn't answer over the broker",
            "start it, if it has ended; a solo worker is silent while it works; else look at its log",
        )
    pool = stats.get("pool", {})
    slots, limits = pool.get("max-concurrency"), pool.get("timeouts") or ()
    facts += [f"{slots} at once"] if slots else []
    facts += [f"hard limit {limits[-1]:g} s"] if limits and limits[-1] else []
    return fine("workers", f"{row.name}: {'; '.join(facts)}")


def _left_out(
    app: Celery, signed: Sequence[WorkerRow], schedules: Sequence[ScheduleRow]
) -> Iterator[Finding]:
    """Queues that nobody takes from, and tasks that nobody records."""
    taken = {queue for row in signed for queue in row.queues}
    named = {row.options.get("queue") or app.conf.task_default_queue for row in schedules}
    if missing := sorted(named - taken):
        yield broken(
            "workers",
            f"none takes from {', '.join(missing)}, which schedules name",
            f"taskd worker --queues {','.join(missing)}",
        )
    recorded = {task for row in signed for task in row.recorded_tasks}
    if unknown := sorted({row.task for row in schedules} - recorded):
        yield doubtful(
            "workers",
            f"none records {output.counted(len(unknown), 'scheduled task')}: {output.short(', '.join(unknown), 200)}",
            "put their module into celery.imports, or give them base=taskd.BaseTask",
        )


def _unlimited(signed: Sequence[WorkerRow], schedules: Sequence[ScheduleRow]) -> Iterator[Finding]:
    limited = sorted(row.name for row in schedules if {"time_limit", "soft_time_limit"} & row.options.keys())
    cant = sorted(row.name for row in signed if any(kind in row.pool.lower() for kind in _CANT_LIMIT))
    if limited and cant:
        yield doubtful(
            "workers",
            f"the pool of {', '.join(cant)} can't end a task, and {', '.join(limited[:3])} asks for a time limit",
            "use --pool prefork for the queues of such schedules",
        )


def source_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the schedule files can be read, all of them."""
    for root in settings.schedules.paths:
        reading = Tree(output.near(root), settings.timezone).read()
        errors = [problem for file in reading.files.values() for problem in file.problems]
        count = sum(len(file.schedules) for file in reading.files.values())
        held = f"{output.counted(count, 'schedule')} in {output.counted(len(reading.files), 'file')}"
        if reading.error:
            yield broken(
                "sources", reading.error, "set schedules.paths, or let the daemon's user read the folder"
            )
        elif errors:
            first = errors[0]
            yield broken(
                "sources",
                f"{output.near(root)}: {output.counted(len(errors), 'error')}, the first at"
                f" {first.path}:{first.line}:{first.column}",
                f"taskd check {output.near(root)}",
            )
        elif not count:
            yield doubtful(
                "sources", f"{output.near(root)} holds no schedules", "`taskd init` writes a first one"
            )
        else:
            yield fine("sources", f"{output.near(root)}: {held}")
