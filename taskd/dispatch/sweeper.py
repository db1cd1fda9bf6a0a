"""The sweeper: ends what dead workers left behind. A leader's service.

States    a worker's counter moves → stands still → the worker is gone; a moving counter brings it back
Truth     the sweeper's own clock between two readings of one counter: no wall clock, no ping (a busy solo worker
          answers none)
Ends      STARTED runs whose claim names a gone incarnation, as LOST, and runs them again where their schedule says
          so. RETRY rows wait for a message that the broker has, whoever wrote them: LOST after a day

fault                                   what happens
a worker is killed                      its runs are LOST after PATIENCE, or once its name has signed on anew
a worker is stopped, or its database
  is away, for longer than PATIENCE     its runs are LOST, until it comes back and tells how they ended
the sweeper was stopped, or its
  database was away                     its readings are too far apart to judge by: it begins anew
another process leads by now            the fence matches no row: nothing of the sweep stands
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from taskd import clock
from taskd.clock import waited
from taskd.dispatch.pausing import FailureCount
from taskd.dispatch.rerunning import Reruns
from taskd.dispatch.stuck import PublishWatch, Refusals, nobody_publishes
from taskd.dispatch.unrecorded import RecordingWatch
from taskd.errors import Unavailable
from taskd.store import retries, workers
from taskd.store.fenced import BATCH, Fenced
from taskd.store.workers import Running

PERIOD = 2.0  # seconds between sweeps
PATIENCE = 10.0  # seconds without a beat: five missed ones, longer than a database's failover mostly takes
log = logging.getLogger("taskd.sweeper")


@dataclass(frozen=True, slots=True)
class Seen:
    """A counter's last value (None: there is no row), and the monotonic second at which it was first seen."""

    beat: int | None
    since: float


def watch(
    before: Mapping[str, Seen], beats: Mapping[str, int], claiming: Iterable[str], seconds: float
) -> dict[str, Seen]:
    """What is known of each incarnation now: those that beat, and those that some claim names."""

    def look(incarnation: str) -> Seen:
        known, beat = before.get(incarnation), beats.get(incarnation)
        return known if known and known.beat == beat else Seen(beat, seconds)

    return {incarnation: look(incarnation) for incarnation in {*beats, *claiming}}


def gone(seen: Mapping[str, Seen], seconds: float) -> set[str]:
    """The incarnations that have shown no life for PATIENCE."""
    return {incarnation for incarnation, sign in seen.items() if seconds - sign.since >= PATIENCE}


def orphans(running: Iterable[Running], names: Mapping[str, str], gone: set[str]) -> list[Running]:
    """The runs whose worker is gone, or has started anew under the same name."""
    return [
        run
        for run in running
        if run.incarnation in gone or names.get(run.worker or "", run.incarnation) != run.incarnation
    ]


class Sweeper:
    """`reruns` knows how to run again what is lost."""

    name = "sweeper"
    needs_lease = "reconcile"  # the daemon holds it, also where a Beat holds the other

    def __init__(
        self,
        database: Fenced,
        reruns: Reruns,
        refusals: Refusals = nobody_publishes,
    ) -> None:
        self._database, self._reruns = database, reruns
        self._seen: dict[str, Seen] = {}
        self._swept_at = float("-inf")
        self._failures = FailureCount(database)
        self._recording = RecordingWatch(database)
        self._publishing = PublishWatch(database, refusals)

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until told to stop. A database that is away is tried again; LeaseLost ends the service."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.sweep, clock.monotonic(), clock.now())
            except Unavailable as error:
                log.warning("nothing is swept: %s", error)
            await waited(stop, PERIOD)

    def sweep(self, seconds: float, now: datetime) -> int:
        """Once, at the monotonic `seconds`: how many runs were given up."""
        beats, names, running = self._database.read(
            lambda session: (workers.beats(session), workers.names(session), workers.running(session))
        )
        known = self._seen if seconds - self._swept_at < PATIENCE / 2 else {}
        self._seen = watch(known, beats, (run.incarnation for run in running), seconds)
        self._swept_at = seconds
        dead = gone(self._seen, seconds)
        lost = self._give_up(orphans(running, names, dead), dead & set(beats), now)
        self._lose_silent_retries(now)
        self._drop_settled_messages()
        self._failures.look(now)
        self._recording.look(seconds, now)
        self._publishing.look(seconds, now)
        return lost

    def _give_up(self, runs: list[Running], dead: set[str], now: datetime) -> int:
        if not runs and not dead:
            return 0

        def write(session: Session) -> list[Running] | None:
            asking = self._reruns.asking(session, [run.id for run in runs])
            lost = [run for run in runs if workers.lose(session, run, now)]
            for incarnation in dead:
                workers.sign_off(session, incarnation)
            for run in lost:
                if run.id in asking:
                    self._reruns.run_again(session, run.id, asking[run.id], now)
            return lost or None  # who has signed off is written too

        lost = self._database.write(write) or []
        for run in lost:
            log.warning("run %d is lost: its worker %s is gone", run.id, run.worker)
        return len(lost)

    def _lose_silent_retries(self, now: datetime) -> None:
        if self._database.read(lambda session: retries.any_silent(session, now)):
            for task_id in self._database.write(lambda session: retries.lose_silent(session, now, BATCH)):
                log.warning("run %s is lost: no worker has begun its next attempt for a day", task_id)

    def _drop_settled_messages(self) -> None:
        while self._database.write(lambda session: workers.drop_settled_messages(session, BATCH)) == BATCH:
            pass
