"""The database: reachable, at the right schema, at the same time of day; and who leads."""

import time
from collections.abc import Iterator, Mapping

from taskd import clock
from taskd.cli.checkup.finding import Finding, broken, doubtful, fine
from taskd.errors import WrongSchema
from taskd.store import leases, schema
from taskd.store.database import Database
from taskd.store.leases import Lease

SKEW = 2.0  # seconds between two clocks that nobody need care about
LEASES = {"dispatch": "decides what is due", "reconcile": "reads the schedule files"}
_LOOK_EVERY = 0.2  # seconds, while a lease is watched


def schema_findings(database: Database) -> Iterator[Finding]:
    """Whether it answers as taskd needs it; raises DatabaseUnavailable."""
    try:
        schema.check(database)
    except WrongSchema as error:
        sentence, _, remedy = str(error).rpartition(": ")
        yield broken("database", sentence, remedy)
    else:
        where = database.url.render_as_string(hide_password=True)
        yield fine("database", f"{where} answers, at revision {schema.head()}")


def clock_findings(database: Database) -> Iterator[Finding]:
    """This machine's clock against the database server's; SQLite has no other clock than ours."""
    if database.dialect == "sqlite":
        return
    before = clock.now()
    theirs = database.now()
    ours = before + (clock.now() - before) / 2
    skew = abs((theirs - ours).total_seconds())
    if skew <= SKEW:
        yield fine("clock", f"within {SKEW:g} s of the database's")
    else:
        yield doubtful(
            "clock",
            f"{skew:.0f} s away from the database's: what is due comes early or late on one of the machines",
            "synchronise both: `timedatectl set-ntp true`, or chrony",
        )


def lease_findings(database: Database, ttl: float) -> Iterator[Finding]:
    """Who leads, and whether it still renews; takes at most as long as a lease may stand still."""
    before = _leases(database)
    deadline, now = clock.monotonic() + ttl, before
    while clock.monotonic() < deadline and any(
        lease.holder and now[name] == lease for name, lease in before.items()
    ):
        time.sleep(_LOOK_EVERY)
        now = _leases(database)
    for name, does in LEASES.items():
        holder = before[name].holder
        if holder is None:
            yield broken(
                "lease", f"nobody holds {name}: no daemon {does}", "start `taskd run`, or `taskd dev`"
            )
        elif now[name] == before[name]:
            yield broken(
                "lease",
                f"{holder} holds {name}, and hasn't renewed it for {ttl:g} s: it is dead or stuck",
                "look at its log; another daemon takes over by itself, so start `taskd run`",
            )
        else:
            yield fine("lease", f"{holder} {does}")


def _leases(database: Database) -> Mapping[str, Lease]:
    return database.read(lambda session: {name: leases.read(session, name) for name in LEASES})
