"""One pass: read the files, compare them with the table, apply the plan, keep the status.

Files are applied whole: a small plan in one transaction, a large one in parts of whole files.

Level, not edge: whoever sees a reason only wakes the reconciler; a pass looks at everything.

fault                                     what happens
a file is broken or half written          its schedules stay as they were, marked Stale; the others go on
a root can't be read, or is empty         deletions are held; everything else applies
a schedule changed between read and apply its version moved: rolled back, compared again
another process reconciles by now         the fence matches no row: rolled back, stepped down
the database is away                      the pass fails; tried again with the next poll or event
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from math import inf

from sqlalchemy.orm import Session

from taskd import clock, garbage
from taskd.config.models import PruneGuard
from taskd.courtesy import TAKE, RightOfWay
from taskd.errors import NotAllowed, Unavailable
from taskd.reconcile import status, table
from taskd.reconcile.apply import ChangedMeanwhile, Source, apply
from taskd.reconcile.parts import in_parts
from taskd.reconcile.plan import Approval, Plan, approved, compare
from taskd.reconcile.readings import renaming, roots_of, sources_of
from taskd.reconcile.render import lines
from taskd.reconcile.table import Snapshot
from taskd.source.tree import Tree, TreeReading
from taskd.store import sources
from taskd.store.database import Database
from taskd.store.fenced import Fence, Fenced
from taskd.store.seal import seal

LONGEST_BREATH = 0.05  # seconds between two parts of a large plan
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}
log = logging.getLogger("taskd.reconcile")


@dataclass(frozen=True, slots=True)
class Consent:
    """What an operator allows in one pass, beside what any pass does: held deletions by digest, an adoption by name."""

    actor: str
    digest: str | None = None
    adopt: str | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass saw and did."""

    plan: Plan
    readings: tuple[TreeReading, ...]


class _Stopped(Unavailable):
    """The process ends between two parts of a large plan; the next one goes on."""

    def __init__(self) -> None:
        super().__init__("taskd is stopping: the rest of the files is applied at its next start")


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
        fence: Fence,
        changed: Callable[[], None],
        secret_keys: frozenset[str] = frozenset(),
        guard: PruneGuard | None = None,
        way: RightOfWay | None = None,
    ) -> None:
        self._database, self._trees, self._poll = Fenced(database, fence), trees, poll
        self._changed, self._secret_keys, self._guard = changed, secret_keys, guard
        self._way = way or RightOfWay(lambda: inf)
        self._awake = asyncio.Event()
        self._one_at_a_time = threading.Lock()
        self._begun = 0
        self._stop: asyncio.Event | None = None
        self._memory = _Memory()
        self._told: frozenset[str] = frozenset()
        self.passed_once = asyncio.Event()
        self.last_success: datetime | None = None

    def wake(self) -> None:
        """There may be something to do. For the daemon's own loop."""
        self._awake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A pass at the start, then one for each wake-up and each poll, until `stop`. Raises LeaseLost."""
        self._stop = stop
        while not stop.is_set():
            self._awake.clear()
            try:
                await asyncio.to_thread(self.one_pass)
                self.passed_once.set()
            except _Stopped as ending:
                log.info("%s", ending)
            except Unavailable as error:
                log.warning("%s; trying again", error)
            waiting = [asyncio.ensure_future(event.wait()) for event in (stop, self._awake)]
            await asyncio.wait(waiting, timeout=self._poll, return_when=asyncio.FIRST_COMPLETED)
            for future in waiting:
                future.cancel()

    def pass_from_now(self) -> Pass:
        """A pass that begins after this call: one for all who ask while another is under way. Raises like one_pass."""
        begun = self._begun
        with self._one_at_a_time:
            last = self._memory.last
            return last if last is not None and self._begun > begun else self._counted_pass()

    def one_pass(self, consent: Consent | None = None) -> Pass:
        """Read, compare, apply. Raises LeaseLost, Unavailable, and NotAllowed for a consent that fits nothing."""
        with self._one_at_a_time:
            return self._counted_pass(consent)

    def preview(self) -> Plan:
        """The plan that a pass would apply now."""
        with self._one_at_a_time:
            memory = self._memory
            snapshot = self._database.read(
                partial(table.look, last=memory.snapshot, give=partial(self._way.give, TAKE))
            )
            if snapshot is not memory.snapshot:
                self._memory = replace(memory, snapshot=snapshot, last=None)
            return self._compare(self._read(), snapshot)

    def _counted_pass(self, consent: Consent | None = None) -> Pass:
        self._begun += 1
        with garbage.without_full_collections():
            made = self._one_pass(consent)
        self.last_success = clock.now()
        return made

    def _one_pass(self, consent: Consent | None) -> Pass:
        began = clock.monotonic()
        memory, self._memory = self._memory, _Memory()  # after a failure nothing is taken for granted
        readings = self._read()
        while True:
            snapshot = self._database.read(
                partial(table.look, last=memory.snapshot, give=partial(self._way.give, TAKE))
            )
            if consent is None and (same := memory.settled(readings, snapshot)) is not None:
                self._memory = memory
                return same
            plan = self._compare(readings, snapshot, consent)
            try:
                self._memory = self._apply(plan, readings, snapshot, memory, began)
            except ChangedMeanwhile:
                log.info("a schedule changed during the pass: comparing again")
            else:
                break
        self._tell(plan, readings)
        return Pass(plan, readings)

    def _read(self) -> tuple[TreeReading, ...]:
        """All trees; what a file that is broken at the first reading last held comes from the database."""
        readings = []
        for tree in self._trees:
            reading = tree.read()
            if forgotten := tree.without_memory(reading):
                good = partial(sources.last_good, root=tree.root, paths=forgotten)
                tree.remember(self._database.read(good))
                reading = tree.read()
            readings.append(reading)
        return tuple(readings)

    def _compare(
        self, readings: Sequence[TreeReading], snapshot: Snapshot, consent: Consent | None = None
    ) -> Plan:
        files = [file for reading in readings for file in reading.files.values()]
        rows = self._database.read(
            lambda session: table.with_past(session, snapshot, renaming(files), clock.now())
        )
        adopted = {consent.adopt: consent.actor} if consent and consent.adopt else {}
        roots, among = roots_of(readings), self._way.among
        plan = compare(files, rows, roots=roots, guard=self._guard, adopted=adopted, among=among)
        return _consented(plan, consent) if consent else plan

    def _apply(
        self,
        plan: Plan,
        readings: tuple[TreeReading, ...],
        snapshot: Snapshot,
        memory: "_Memory",
        began: float,
    ) -> "_Memory":
        """One transaction, or a few for a large plan; none where trees and table are as the last pass left them."""
        this = Pass(plan, readings)
        state = _state(readings, plan)
        if not plan.writes and state == memory.recorded:
            return _Memory(state, snapshot, memory.known, this)
        now, names, where = clock.now(), table.names_in(plan), sources_of(readings)
        *parts, rest = in_parts(plan)
        few = not parts and len(names) <= table.MOST_KEPT
        took = 0.0
        for part in parts:
            self._way.give(took)
            took = self._apply_part(part, where, now)
            if self._stop is not None and self._stop.is_set():
                raise _Stopped

        self._way.give(took)

        def write(session: Session) -> tuple[Snapshot | None, status.Known]:
            before = seal(session, names) if few else None
            apply(session, rest, where, self._secret_keys, now)
            seconds = clock.monotonic() - began
            known = status.record(session, readings, plan, memory.known, now, seconds)
            return table.written(session, snapshot, names, before) if before is not None else None, known

        after, known = self._database.write(write)
        if plan.changes:
            self._changed()
        return _Memory(state, after, known, this)

    def _apply_part(self, part: Plan, where: Mapping[str, Source], now: datetime) -> float:
        """How many seconds it took."""
        began = clock.monotonic()
        self._database.write(lambda session: apply(session, part, where, self._secret_keys, now))
        took = clock.monotonic() - began
        # On SQLite one writes at a time, and who waits only looks now and then.
        time.sleep(min(took, LONGEST_BREATH))
        return took

    def _tell(self, plan: Plan, readings: Sequence[TreeReading]) -> None:
        """One log line a change, and one a problem when it is new."""
        for line in self._way.among(line for line in lines(plan, self._secret_keys) if line.kind != "hold"):
            log.info("%s %s: %s", line.kind, line.name, line.detail)
        problems: dict[str, int] = {str(problem): _LEVELS[problem.severity] for problem in plan.problems}
        problems |= {str(conflict): logging.ERROR for conflict in plan.conflicts}
        unread = [reading.error for reading in readings if reading.error]
        problems |= {f"{error}: nothing is deleted until it can be read": logging.ERROR for error in unread}
        if plan.holding:
            problems[plan.holding] = logging.WARNING
        for problem, level in problems.items():
            if problem not in self._told:
                log.log(level, "%s", problem)
        if self._told and not problems:
            log.info("all files are in order again")
        self._told = frozenset(problems)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the last pass left behind, so that the next one needn't find it out again."""

    recorded: object = None
    snapshot: Snapshot | None = None
    known: status.Known = field(default_factory=dict)
    last: Pass | None = None

    def settled(self, readings: Sequence[TreeReading], snapshot: Snapshot) -> Pass | None:
        """The last pass, if it had nothing to write and neither a file nor a row has changed since."""
        last = self.last
        if last is None or last.plan.writes or snapshot is not self.snapshot:
            return None
        return last if self.recorded == _state(readings, last.plan) else None


def _state(readings: Sequence[TreeReading], plan: Plan) -> object:
    """What the status is made of: recorded again where it is another."""
    read = [(reading.root, reading.digest, reading.revision, reading.error) for reading in readings]
    return read, plan.conflicts, plan.digest


def _consented(plan: Plan, consent: Consent) -> Plan:
    if consent.adopt and not any(update.adopted_by for update in plan.updates):
        raise NotAllowed(f"no file declares {consent.adopt!r}: put it into one, `taskd export` writes it so")
    return approved(plan, Approval(consent.digest, consent.actor)) if consent.digest else plan
