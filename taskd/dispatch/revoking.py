"""What workers are told to drop or to kill, once the transaction that decided it has committed.

The rows are the truth: what nobody has begun is REVOKED there, and refused whenever it is delivered. A broadcast only
reaches workers that are up; one that is lost leaves a run going that the next fire of its schedule revokes again.
"""

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from celery import Celery
from sqlalchemy import event
from sqlalchemy.orm import Session

from taskd import clock

TIMEOUT = 4  # seconds to reach the broker
PATIENCE = 60.0  # seconds for which a broadcast is tried
log = logging.getLogger("taskd.revoke")


@dataclass(frozen=True, slots=True)
class Revocation:
    """Runs that have begun. `terminate` kills them, else only their retries are dropped."""

    task_ids: tuple[str, ...]
    terminate: bool


class Revoker:
    """Revocations on their way from the thread that decides to the one that talks to the broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: deque[tuple[float, Revocation]] = deque()

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Take what has been committed. From any thread."""
        self._waiting.extend((clock.monotonic(), revocation) for revocation in revocations)

    def send(self) -> None:
        """Tell the workers. What can't be sent waits for the next call, for PATIENCE."""
        while self._waiting:
            since, revocation = self._waiting[0]
            sent = broadcast(self._app, revocation)
            if not sent and clock.monotonic() - since < PATIENCE:
                return
            self._waiting.popleft()


def broadcast(app: Celery, revocation: Revocation) -> bool:
    """Celery's own revoke, to all workers. False, and a warning, if the broker can't be reached."""
    try:
        with app.connection_for_write(connect_timeout=TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, timeout=TIMEOUT)
            app.control.revoke(
                list(revocation.task_ids), terminate=revocation.terminate, connection=connection
            )
    except Exception as error:  # noqa: BLE001  every transport has its own
        log.warning("no worker was told to revoke %s: %s", ", ".join(revocation.task_ids), error)
        return False
    return True


def broadcast_after_commit(session: Session, app: Celery, revocations: Iterable[Revocation]) -> None:
    """Tell the workers if `session` commits, and not before."""
    for revocation in revocations:

        def tell(_: Session, told: Revocation = revocation) -> None:
            broadcast(app, told)

        event.listen(session, "after_commit", tell, once=True)
