"""Is it this schedule that can't be written, or does the database take no runs at all?

A poison row is quarantined, alone. A full disk, a revoked privilege or a damaged table would look the same for every
schedule: then none is to blame, and all of them wait.
"""

from datetime import datetime
from uuid import uuid4

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from taskd.errors import DatabaseUnavailable
from taskd.store import runs
from taskd.store.database import Database
from taskd.store.outbox import Message
from taskd.store.runs import NewRun

NOBODY = 0  # no schedule has this id


def require_writable(database: Database, now: datetime) -> None:
    """Write the plainest run there is and take it back; raises DatabaseUnavailable if even that is refused."""
    message = Message.of(b"{}", {}, {})
    run = NewRun(
        str(uuid4()), "taskd.probe", "PENDING", "schedule", NOBODY, "", now, None, None, now, message=message
    )

    def write(session: Session) -> None:
        runs.add(session, [run])
        session.rollback()

    try:
        database.write(write)
    except DBAPIError as error:
        where = database.url.render_as_string(hide_password=True)
        raise DatabaseUnavailable(f"the database {where} takes no runs: {error.orig}") from error
