"""One pass: read the files, compare them with the table, apply the plan in one transaction, keep the status.

Level, not edge: whoever sees a reason only wakes the reconciler; a pass looks at everything.

fault                                     what happens
a file is broken or half written          its schedules stay as they were, marked Stale; the others go on
a root can't be read                      deletions are held; everything else applies
a schedule changed between read and apply its version moved: rolled back, compared again
another process reconciles by now         the fence matches no row: rolled back, stepped down
the database is away                      the pass fails; tried again with the next poll or event
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from taskd import clock
from taskd.errors import Unavailable
from taskd.reconcile.apply import ChangedMeanwhile, Source, apply, load
from taskd.reconcile.plan import Plan, compare
from taskd.reconcile.render import lines
from taskd.source.tree import Tree, TreeReading
from taskd.source.yamlfile import FileReading
from taskd.store import sources
from taskd.store.database import Database
from taskd.store.sources import FileState, condition

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}
log = logging.getLogger("taskd.reconcile")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass saw and did."""

    plan: Plan
    readings: tuple[TreeReading, ...]


class Reconciler:
    """Keeps the table as the files declare it, while its process holds the `reconcile` lease."""

    name = "reconcile"
    needs_lease = "reconcile"

    def __init__(
        self,
        database: Database,
        trees: Sequence[Tree],
        *,
        poll: float,
        fence: Callable[[Session], None],
        changed: Callable[[], None],
        secret_keys: frozenset[str] = frozenset(),
    ) -> None:
        self._database, self._trees, self._poll = database, trees, poll
        self._fence, self._changed, self._secret_keys = fence, changed, secret_keys
        self._awake = asyncio.Event()
        self._one_at_a_time = threading.Lock()
        self._recorded: object = None
        self._told: frozenset[str] = frozenset()
        self.passed_once = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do. For the daemon's own loop."""
        self._awake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A pass at the start, then one for each wake-up and each poll, until `stop`. Raises LeaseLost."""
        while not stop.is_set():
            self._awake.clear()
            try:
                await asyncio.to_thread(self.one_pass)
                self.passed_once.set()
            except Unavailable as error:
                log.warning("%s; trying again", error)
            waiting = [asyncio.ensure_future(event.wait()) for event in (stop, self._awake)]
            await asyncio.wait(waiting, timeout=self._poll, return_when=asyncio.FIRST_COMPLETED)
            for future in waiting:
                future.cancel()

    def one_pass(self) -> Pass:
        """Read, compare, apply. Raises LeaseLost, Unavailable."""
        with self._one_at_a_time:
            readings = tuple(tree.read() for tree in self._trees)
            while True:
                plan = self._compare(readings)
                try:
                    self._apply(plan, readings, clock.now())
                except ChangedMeanwhile:
                    log.info("a schedule changed during the pass: comparing again")
                else:
                    break
            self._tell(plan, readings)
            return Pass(plan, readings)

    def preview(self) -> Plan:
        """The plan that a pass would apply now."""
        with self._one_at_a_time:
            return self._compare(tuple(tree.read() for tree in self._trees))

    def _compare(self, readings: Sequence[TreeReading]) -> Plan:
        files = [file for reading in readings for file in reading.files.values()]
        unreadable = any(reading.error for reading in readings)
        return compare(files, self._database.read(load), unreadable=unreadable)

    def _apply(self, plan: Plan, readings: Sequence[TreeReading], now: datetime) -> None:
        """One transaction; none where the tree and the table are as the last pass left them."""
        state = [(reading.root, reading.revision, reading.error, plan.conflicts) for reading in readings]
        if not plan.writes and state == self._recorded:
            return

        def write(session: Session) -> None:
            apply(session, plan, _sources(readings), self._secret_keys, now)
            for reading in readings:
                _record(session, reading, plan, now)
            self._fence(session)

        self._database.write(write)
        self._recorded = state
        if plan.changes:
            self._changed()

    def _tell(self, plan: Plan, readings: Sequence[TreeReading]) -> None:
        """One log line a change, and one a problem when it is new."""
        for line in lines(plan, self._secret_keys):
            log.info("%s %s: %s", line.kind, line.name, line.detail)
        problems: dict[str, int] = {str(problem): _LEVELS[problem.severity] for problem in plan.problems}
        problems |= {str(conflict): logging.ERROR for conflict in plan.conflicts}
        unread = [reading.error for reading in readings if reading.error]
        problems |= {f"{error}: nothing is deleted until it can be read": logging.ERROR for error in unread}
        for problem, level in problems.items():
            if problem not in self._told:
                log.log(level, "%s", problem)
        if self._told and not problems:
            log.info("all files are in order again")
        self._told = frozenset(problems)


def _sources(readings: Sequence[TreeReading]) -> dict[str, Source]:
    return {path: Source(reading.root, reading.revision) for reading in readings for path in reading.files}


def _record(session: Session, reading: TreeReading, plan: Plan, now: datetime) -> None:
    """The status of one source after this pass."""
    errors = [str(problem) for problem in plan.errors if problem.path in reading.files]
    conditions = [condition("Unreadable", now, reading.error)] if reading.error else []
    conditions += [condition("Stale", now, error) for error in errors]
    outcome: dict[str, Any] = {
        "at": now.isoformat(),
        "revision": reading.revision,
        "created": len(plan.creates),
        "updated": len(plan.updates),
        "deleted": len(plan.deletes),
        "held": len(plan.held),
        "errors": len(errors),
    }
    files = {path: _file_state(file) for path, file in reading.files.items()}
    sources.save(session, reading.root, reading.revision, files, conditions, outcome)


def _file_state(file: FileReading) -> FileState:
    error = next((str(problem) for problem in file.problems if problem.severity == "error"), None)
    good = None if error else [new.spec.model_dump(mode="json") for new in file.schedules]
    return FileState(file.digest, good, error)
