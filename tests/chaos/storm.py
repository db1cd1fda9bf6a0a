"""Faults, one after another, on installations that go on working; then calm, and the question whether all came right.

Each fault is a function of the storm; it leaves everything repaired but what taskd has to repair. Random numbers come
from one seed, so a storm can be had again, as far as processes can be.
"""

import json
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis
from sqlalchemy import create_engine, func, select, text

from taskd.store.claims import ACTIVE
from taskd.store.tables import RunRow
from tests.acceptance.installations import LEASE, Installation, kill_group, said
from tests.chaos.checker import Facts, occurrences
from tests.chaos.replicas import TASK, Replica, Replicas
from tests.services import SOON
from tests.waiting import eventually

log = logging.getLogger("tests.figures")
LOCK = text("SELECT * FROM task_lease WHERE name = 'dispatch' FOR UPDATE")

AT_WORK = 0.5  # seconds that a run of the first schedule takes

WAITING = {  # how many transactions wait for a lock
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ),
    "mariadb": (  # innodb_trx would be a cache that frequent questions keep as it is
        "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND time_ms > 100 "
        "AND command = 'Query' AND info LIKE 'UPDATE task_lease%'"
    ),
}


class Storm:
    """A seeded series of faults on `replicas`, whose broker is a Redis of its own keys (`prefix`)."""

    def __init__(self, replicas: Replicas, schedules: int, seed: object) -> None:
        self.replicas, self.place = replicas, replicas.place
        self.journal = Path(self.place.environ["JOURNAL"])
        self.random = random.Random(str(seed))
        self.done: Counter[str] = Counter()
        self.names = [f"s{number:02d}" for number in range(schedules)]
        self._edits = 0
        self._redis = Redis.from_url(self.place.environ["TASKD_BROKER__URL"])
        self._prefix = self.place.environ["TASKD_BROKER__REDIS__PREFIX"]
        self.declare()

    def declare(self, *, enabled: bool = True) -> None:
        """Write the files: the arguments tell how often that was."""
        self._edits += 1
        lines = [
            f"  {name}: {{task: {TASK}, interval: 1s, args: [{AT_WORK if name == self.names[0] else 0}, {self._edits}], "
            f"enabled: {str(enabled).lower()}}}\n"
            for name in self.names
        ]
        self.place.declare("storm.yaml", "schedules:\n" + "".join(lines))

    def rage(self, faults: int, rest: float) -> None:
        """So many faults, up to `rest` seconds between two."""
        kinds: list[Callable[[], None]] = []
        for _ in range(faults):
            if not kinds:
                kinds = self.random.sample(FAULTS, len(FAULTS))  # each as often as any other
            fault = kinds.pop()
            log.info("%d: %s", self.done.total() + 1, fault.__name__)
            fault(self)
            self.done[fault.__name__] += 1
            self.pause(0, rest)

    def calm(self, within: float = 150) -> Facts:
        """Let all that is under way come to its end, with everything repaired; what there is to check."""
        for replica in self.replicas.all:
            replica.broker.restore()
            replica.database.restore()
        eventually(self._leader_that_works, within)
        before = (
            self.decided()
        )  # what is disabled while its messages wait is skipped: that is for other tests
        eventually(lambda: self.decided() > before and not self._waits(), within)
        self.declare(enabled=False)
        eventually(self._nothing_fires, within)
        eventually(lambda: not self.place.any_run(RunRow.status.in_(ACTIVE)), within)
        for replica in self.replicas.all:  # one that was started by the last fault may not have come up yet
            said(replica.running, "ready, ", within)
        for replica in (*self.replicas.all, self.replicas.skewed):
            assert replica.running.stop(signal.SIGTERM, within=30) == 0, replica.running.output
        facts = self.replicas.facts(self.journal)
        ends = dict(Counter(run.status for run in facts.runs))
        refused = self.place.database.read(lambda session: session.scalars(select(RunRow.detail)).all())
        log.info(
            "%d copies refused, %d runs published again on evidence",
            sum((detail or {}).get("refused", 0) for detail in refused),
            sum("republished" in (detail or {}) for detail in refused),
        )
        log.info(
            "%d faults (%s), %d occurrences: %s; %d epochs",
            self.done.total(), dict(self.done), occurrences(facts), ends, len(facts.leaders),
        )  # fmt: skip
        return facts

    def pause(self, least: float, most: float) -> None:
        """Let it work; no state to wait for, the moment is the point."""
        time.sleep(self.random.uniform(least, most))

    def leader(self) -> Replica:
        """Who leads now, once somebody does."""
        return eventually(self.replicas.leader, within=60)  # type: ignore[return-value]  # eventually returns no None

    def decided(self) -> int:
        """How many rows there are."""
        count = select(func.count()).select_from(RunRow)
        return self.place.database.read(lambda session: session.scalar(count)) or 0

    def _waits(self) -> bool:
        """Whether a run that is a second old hasn't been published yet."""
        young = datetime.now(UTC) - timedelta(seconds=1)
        return self.place.any_run(
            RunRow.status == "PENDING", RunRow.published_at.is_(None), RunRow.decided_at < young
        )

    def _leader_that_works(self) -> bool:
        return bool(self.replicas.leader()) and not any(
            replica.running.ended() for replica in self.replicas.all
        )

    def _nothing_fires(self) -> bool:
        rows = [self.place.schedule(name) for name in self.names]
        return all(row is not None and row.state == "disabled" for row in rows)

    @contextmanager
    def fence_locked(self) -> Iterator[None]:
        """Whoever leads waits for its fence, inside its transaction."""
        engine = create_engine(self.place.database.url)
        with engine.connect() as connection:
            connection.execute(LOCK)
            yield
            connection.rollback()
        engine.dispose()

    def fence_waits(self) -> bool:
        """Whether a transaction waits for a lock."""
        question = text(WAITING[self.place.database.dialect])
        return bool(self.place.database.read(lambda session: session.execute(question).scalar_one()))

    def flush(self) -> None:
        """All of the broker's keys at once."""
        if keys := self._redis.keys(f"{self._prefix}*"):
            self._redis.delete(*keys)

    def pop(self) -> None:
        """What a worker has popped and not noted when it is killed."""
        for name in self._redis.keys(f"{self._prefix}*celery*"):
            if self._redis.type(name) == b"list":
                self._redis.rpop(name)


def kill_at_random(storm: Storm) -> None:
    storm.pause(0, 1)
    replica = storm.random.choice(storm.replicas.all)
    kill_group(replica.running)
    replica.start()


def kill_in_the_busy_moment(storm: Storm) -> None:
    leader = storm.leader()
    time.sleep(1 - time.time() % 1 + storm.random.uniform(0, 0.08))
    kill_group(leader.running)
    leader.start()


def kill_inside_t1(storm: Storm) -> None:
    leader = storm.leader()
    with storm.fence_locked():
        eventually(storm.fence_waits, within=30)
        kill_group(leader.running)
    leader.start()


def kill_between_t1_and_p(storm: Storm) -> None:
    leader = storm.leader()
    leader.broker.hold_at(b"LPUSH")
    leader.broker.holds.wait(15)
    kill_group(leader.running)
    leader.broker.cut()  # what was held never arrives
    leader.broker.restore()
    leader.start()


def kill_between_p_and_t2(storm: Storm) -> None:
    leader = storm.leader()
    leader.broker.cut_after(b"LPUSH")
    leader.broker.has_cut.wait(15)
    kill_group(leader.running)
    leader.start()


def lose_the_answer_to_a_commit(storm: Storm) -> None:
    leader = storm.leader()
    leader.database.cut_after(b"COMMIT")
    leader.database.has_cut.wait(15)


def lose_the_answer_to_a_publish(storm: Storm) -> None:
    leader = storm.leader()
    leader.broker.cut_after(b"LPUSH")
    leader.broker.has_cut.wait(15)


def stop_and_wake(storm: Storm, leader: Replica) -> None:
    leader.running.process.send_signal(signal.SIGSTOP)
    former = leader.name
    eventually(lambda: (now := storm.replicas.leader()) is not None and now.name != former, within=60)
    leader.running.process.send_signal(signal.SIGCONT)


def freeze_when_idle(storm: Storm) -> None:
    leader = storm.leader()
    time.sleep(1 - time.time() % 1 + 0.5)
    stop_and_wake(storm, leader)


def freeze_inside_t1(storm: Storm) -> None:
    leader = storm.leader()
    with storm.fence_locked():
        eventually(storm.fence_waits, within=30)
        leader.running.process.send_signal(signal.SIGSTOP)
    stop_and_wake(storm, leader)


def freeze_between_t1_and_p(storm: Storm) -> None:
    leader = storm.leader()
    leader.broker.hold_at(b"LPUSH")
    leader.broker.holds.wait(15)
    stop_and_wake(storm, leader)
    leader.broker.restore()


def cut_the_database(storm: Storm) -> None:
    leader = storm.leader()
    leader.database.cut()
    storm.pause(0.2, LEASE + 2)
    leader.database.restore()


def cut_the_broker_for_all(storm: Storm) -> None:
    for replica in storm.replicas.all:
        replica.broker.cut()
    storm.pause(0.2, LEASE + 2)
    for replica in storm.replicas.all:
        replica.broker.restore()


def hold_the_broker(storm: Storm) -> None:
    leader = storm.leader()
    leader.broker.hold()
    storm.pause(0.2, LEASE)
    leader.broker.restore()


def stop_in_order(storm: Storm) -> None:
    leader = storm.leader()
    assert leader.running.stop(signal.SIGTERM, within=30) == 0
    leader.start()


def lose_what_the_broker_has(storm: Storm) -> None:
    storm.flush()


def lose_what_a_worker_popped(storm: Storm) -> None:
    time.sleep(1 - time.time() % 1 + 0.03)
    storm.pop()


def kill_a_worker(storm: Storm) -> None:
    number = storm.random.randrange(len(storm.replicas.workers))
    kill_group(storm.replicas.workers[number])
    storm.replicas.workers[number] = storm.replicas.new_worker(number)


def kill_all_workers_at_work(storm: Storm) -> None:
    eventually(lambda: storm.place.any_run(RunRow.status == "STARTED"), within=60)
    for worker in storm.replicas.workers:
        kill_group(worker)
    storm.pause(0.2, LEASE)  # nobody claims what is published
    storm.replicas.workers[:] = [storm.replicas.new_worker(n) for n in range(len(storm.replicas.workers))]


def edit(storm: Storm) -> None:
    storm.declare()


def declare_one_more(storm: Storm) -> None:
    storm.names.append(f"more{len(storm.names)}")
    storm.declare()


FAULTS: list[Callable[[Storm], None]] = [
    kill_at_random,
    kill_in_the_busy_moment,
    kill_inside_t1,
    kill_between_t1_and_p,
    kill_between_p_and_t2,
    lose_the_answer_to_a_commit,
    lose_the_answer_to_a_publish,
    freeze_when_idle,
    freeze_inside_t1,
    freeze_between_t1_and_p,
    cut_the_database,
    cut_the_broker_for_all,
    hold_the_broker,
    stop_in_order,
    lose_what_the_broker_has,
    lose_what_a_worker_popped,
    kill_a_worker,
    kill_all_workers_at_work,
    edit,
    declare_one_more,
]


@contextmanager
def storm(
    folder: Path, database: str, redis: str, prefix: str, *, replicas: int, schedules: int, seed: object
) -> Iterator[Storm]:
    """An installation on a database server and Redis, ready for its faults."""
    with ExitStack() as stack:
        place = Installation(
            folder,
            TASKD_DATABASE__URL=database,
            TASKD_BROKER__URL=redis,
            TASKD_BROKER__REDIS__PREFIX=prefix,
            TASKD_CELERY__IMPORTS="tests.chaos.witness",
            TASKD_CELERY__CONF=json.dumps({"broker_transport_options": SOON}),
            JOURNAL=str(folder / "journal"),
        )
        stack.callback(place.kill_all)
        many = Replicas(place, replicas, stack)
        stack.callback(many.kill)
        made = Storm(many, schedules, seed)
        many.start(workers=2)
        made.leader()
        yield made
        said(many.skewed.running, "this machine's clock is")
