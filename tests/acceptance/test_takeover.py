"""A leader that is stopped (SIGSTOP) anywhere can't keep others from leading, and does no harm when it wakes."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, text

from taskd.store.tables import LeaseRow
from tests.acceptance.installations import LEADS, Installation, assert_each_once, kill_group, said
from tests.acceptance.processes import Running
from tests.acceptance.test_two_daemons import get, second
from tests.chaos.storm import WAITING
from tests.proxy import Proxy
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)  # processes, on a machine that has much to do
NAMES = ("a", "b", "c")
INSIDE = {  # connections that are in a transaction and wait for their client
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    ),
    "mariadb": (
        "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
        "ON p.id = t.trx_mysql_thread_id WHERE p.command = 'Sleep' AND p.db = database()"
    ),
}


@contextmanager
def fence_blocked(place: Installation) -> Iterator[None]:
    """Somebody else holds the row of the dispatch lease: a leader waits inside its transaction."""
    patient = create_engine(place.database.url)  # taskd's own would be ended after 3 s
    with patient.connect() as connection:
        lock = text(f"SELECT * FROM {LeaseRow.__tablename__} WHERE name = 'dispatch' FOR UPDATE")
        connection.execute(lock)
        yield
        connection.rollback()
    patient.dispose()


def blocked(place: Installation) -> bool:
    """Whether a connection waits for a lock."""
    return asked(place, WAITING[place.database.dialect]) > 0


def asked(place: Installation, question: str) -> int:
    return int(place.database.read(lambda session: session.execute(text(question)).scalar_one()))


def wake(frozen: Running) -> None:
    """Let it go on, and see it find out."""
    frozen.process.send_signal(signal.SIGCONT)
    said(frozen, "lost the dispatch lease")


def end(place: Installation, *daemons: Running) -> None:
    assert [daemon.stop(within=15) for daemon in daemons] == [0] * len(daemons)
    place.settle()
    assert_each_once(place, *NAMES)


@pytest.mark.parametrize("place", ["postgresql+redis", "mariadb+rabbitmq"], indirect=True)
def test_a_leader_stopped_inside_its_transaction_blocks_no_takeover(place: Installation) -> None:
    place.beats(*NAMES)
    place.worker()
    frozen = place.daemon(until=LEADS)
    standby, port = second(place)
    place.goes_on("a")

    with fence_blocked(place):
        eventually(lambda: blocked(place), within=30)
        frozen.process.send_signal(signal.SIGSTOP)
    # MariaDB answers from a cache that more frequent questions keep as it is.
    eventually(lambda: asked(place, INSIDE[place.database.dialect]), pause=0.2)
    said(standby, LEADS)
    eventually(lambda: asked(place, INSIDE[place.database.dialect]) == 0, pause=0.2)
    for name in NAMES:
        place.goes_on(name)
    eventually(lambda: get(port, "/api/v1/system")["role"] == "leader")
    wake(frozen)
    place.goes_on("a")
    eventually(
        lambda: {get(one, "/api/v1/system")["role"] for one in (port, place.port)} == {"leader", "standby"}
    )
    end(place, standby, frozen)


def proxied(place: Installation) -> Proxy:
    """Between the daemon and its broker."""
    parts = urlsplit(place.app.conf.broker_url)
    return Proxy((parts.hostname or "", parts.port or 0))


@pytest.mark.parametrize("place", ["postgresql+redis"], indirect=True)
def test_a_leader_stopped_before_it_publishes_publishes_too_late_and_nothing_runs_twice(
    place: Installation,
) -> None:
    place.beats(*NAMES)
    place.worker()
    url = urlsplit(place.app.conf.broker_url)
    with proxied(place) as proxy:
        through = url._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        frozen = place.daemon(until=LEADS, TASKD_BROKER__URL=through)
        standby, _ = second(place)
        place.goes_on("a")

        proxy.hold_at(b"LPUSH")  # it has decided, and waits for the broker's answer
        assert proxy.holds.wait(20)
        frozen.process.send_signal(signal.SIGSTOP)
        said(standby, LEADS)
        for name in NAMES:
            place.goes_on(name)
        proxy.restore()
        wake(frozen)
        place.goes_on("a")
        end(place, standby, frozen)
    refused = sum((run.detail or {}).get("refused", 0) for run in place.runs())
    assert refused, "it should have published what another had published"


def test_on_sqlite_a_stopped_leader_must_be_ended_as_the_watchdog_does_it(place: Installation) -> None:
    """Until then a standby says what is wrong, and still answers."""
    place.beats(*NAMES)
    frozen = place.daemon(until=LEADS)
    standby, port = second(place)
    stop_inside(place, frozen)
    said(standby, "database is locked")
    assert get(port, "/healthz")["status"] == "ok"
    assert get(port, "/api/v1/system")["role"] == "standby"

    kill_group(frozen)
    said(standby, LEADS)
    place.worker()
    for name in NAMES:
        place.goes_on(name)
    end(place, standby)


def stop_inside(place: Installation, leader: Running) -> None:
    """Stop it at ever new moments until it holds SQLite's write lock."""

    def held() -> bool:
        leader.process.send_signal(signal.SIGSTOP)
        if locked(place.folder / "state" / "taskd.db"):
            return True
        leader.process.send_signal(signal.SIGCONT)
        return False

    eventually(held, within=30)


def locked(path: Path) -> bool:
    """Whether somebody who does nothing holds the write lock."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=1)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        connection.execute("ROLLBACK")
        return False
    finally:
        connection.close()
