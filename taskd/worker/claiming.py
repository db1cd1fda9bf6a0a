"""May this body start? The row says, before it does; within BUDGET, or as `results.claim` says where the database is away.

| the message                                   | `available`                   | `strict`                       |
|-----------------------------------------------|-------------------------------|--------------------------------|
| a call that no schedule made                  | starts, nobody is asked       | starts, nobody is asked        |
| a decided run, sent once                      | starts, its claim in the spool| waits                          |
| a decided run that may have been sent before  | waits, also for every spool   | waits                          |

What waits goes back to the broker after PATIENCE, or where the broker has forgotten it waits on.
"""

import logging
from dataclasses import replace
from typing import Any

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from taskd.clock import monotonic, now
from taskd.errors import DatabaseUnavailable
from taskd.store import attempts, claims
from taskd.store.claims import Start, Verdict
from taskd.store.records import Record, Teller
from taskd.worker.calls import CLAIM, STARTED_AT, call_of, generation_of, is_repeated
from taskd.worker.connection import settings_of
from taskd.worker.life import incarnation
from taskd.worker.scribe import Scribe, scribe_of

log = logging.getLogger("taskd.worker")

BUDGET = 0.8  # seconds
PATIENCE = 30.0  # seconds


def claim(app: Celery, request: Any, *, may_wait_on: bool) -> Verdict | None:
    """W1; None: nobody can say within PATIENCE whether the body may start (with `may_wait_on`, that isn't an answer)."""
    settings, scribe = settings_of(app), scribe_of(app)
    call, repeated = call_of(request, settings.results.max_result_bytes), is_repeated(request)
    if call.decided and repeated:
        scribe.wait_for_spools(PATIENCE)  # one of them may tell that it has begun
    start = Start(
        call, claims.new_token(incarnation()), generation_of(request), request.hostname or "", now()
    )
    request.update({CLAIM: start.token, STARTED_AT: monotonic()})
    if not (call.decided or start.generation):  # a retry, or what replaced a decided run, has a row
        return _unasked(scribe, start)
    try:
        return scribe.ask(lambda: attempts.begin(scribe.database, start), BUDGET)
    except (DatabaseUnavailable, SQLAlchemyError) as error:
        if not call.decided or not (repeated or settings.results.claim == "strict"):
            return _unasked(scribe, start)
        return _in_the_end(scribe, request, start, error, may_wait_on=may_wait_on)


def _unasked(scribe: Scribe, start: Start) -> Verdict:
    scribe.tell(Record(start.call.task_id, Teller("task", start.token), start=start))
    return "claimed"


def _in_the_end(
    scribe: Scribe, request: Any, start: Start, error: Exception, *, may_wait_on: bool
) -> Verdict | None:
    what = f"{start.call.task_name}[{start.call.task_id}]"
    log.warning("the start of %s waits for the database: %s", what, error)

    def begin() -> Verdict:
        request.update({STARTED_AT: monotonic()})
        return attempts.begin(scribe.database, replace(start, at=now()))

    try:
        return scribe.wait(begin, None if may_wait_on else PATIENCE, BUDGET)
    except (DatabaseUnavailable, SQLAlchemyError) as last:
        log.warning("%s isn't started: %s", what, last)
        return None
