"""The one writer of `task_result` in a worker: a result backend that records what Celery tells it.

`recording(backend)` is the application's own backend with recording added to it, so chords, groups and its own
storage stay as they are; `RecordingBackend` is for an application without one, and answers from the table.
The application's own comes first: only what it has accepted did happen. Recording never raises: after a success
Celery would make a failure of it.

What a record may change depends on who tells it:

| told by                                              | row must be                                  |
|------------------------------------------------------|----------------------------------------------|
| the process that runs the body (its request has a claim) | claimed by just this start               |
| the main process, of what its child had begun        | claimed by this worker, or not at all        |
| the main process, of what it never began             | not begun by anybody                         |
| somebody who only knows the id                       | waiting                                      |

What is told goes to the spool, from where the scribe writes it, and no task waits for that; but for a way back to the
broker, since the next delivery must find it, and for a retry that waits in the database.
"""

import logging
from datetime import datetime
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Retry, SoftTimeLimitExceeded, TaskRevokedError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from taskd.clock import monotonic, now
from taskd.errors import DatabaseUnavailable
from taskd.store import retries
from taskd.store.claims import Call, Outcome
from taskd.store.outbox import Message
from taskd.store.records import Record, Teller
from taskd.worker import tasklog
from taskd.worker.calls import (
    STARTED_AT,
    call_of,
    claim_of,
    generation_of,
    is_outside,
)
from taskd.worker.connection import database_of, held_over_forks, settings_of
from taskd.worker.life import incarnation
from taskd.worker.meta import meta_of
from taskd.worker.scribe import scribe_of
from taskd.worker.values import storable, storable_traceback

log = logging.getLogger("taskd.worker")

PATIENCE = 0.2  # seconds for the database, where a task waits for it; its claim may have taken more
_OUTCOMES = {states.SUCCESS, states.FAILURE, states.RETRY, states.REVOKED, states.IGNORED}
_BEFORE_ITS_START = {"revoked", "expired"}  # Celery's reasons, as opposed to "terminated"


class Recording:
    """Adds recording to a result backend class that comes after it."""

    app: Any
    prepare_exception: Any

    def listen(self, request: Any) -> None:
        """Keep what the task logs from now on."""

        def flush(text: str) -> None:
            scribe_of(self.app).tell(Record(request.id, _mine(request), log=text))

        tasklog.begin(request, settings_of(self.app).results.log_bytes, flush)

    def give_back(self, request: Any) -> None:
        """The message goes back to the broker: the run waits for its next delivery."""
        scribe = scribe_of(self.app)
        scribe.tell(Record(request.id, _mine(request), given_back=True))
        scribe.catch_up(PATIENCE)

    def sent_back(self, request: Any) -> None:
        """The same, said by the main process; whatever goes wrong with that is logged, not raised."""
        try:
            scribe_of(self.app).tell(Record(request.id, _worker(request), given_back=True))
        except Exception:
            log.exception("that %s waits again is not recorded", request.id)

    def postpone(self, request: Any, message: Message, at: datetime) -> bool:
        """The next attempt waits in the database until `at`. False: its message has to wait elsewhere."""
        where, task_id, scribe = _mine(request).may_write(), request.id, scribe_of(self.app)
        scribe.catch_up(PATIENCE)  # its start may still be on its way

        def write(session: Session) -> bool:
            return retries.wait(session, task_id, message, at, where, now())

        try:
            return scribe.ask(lambda: scribe.database.write(write), PATIENCE)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            log.warning("the next attempt of %s waits with the broker: %s", task_id, error)
            return False

    def ignored(self, request: Any, *, replaced: bool) -> None:
        """The body raised Ignore. A replacement goes on under the same id, so its row stays open for it."""
        self.record(request.id, None, states.RETRY if replaced else states.IGNORED, None, request)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Also where the application ignores the result."""
        super().mark_as_done(task_id, result, request, store_result, state)  # type: ignore[misc]  # Celery's
        if not store_result or getattr(request, "ignore_result", False):
            self.record(task_id, result, state, None, request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Exception,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Also where the application ignores the result."""
        if not store_result:
            self.record(task_id, exc, state, traceback, request)
        super().mark_as_failure(  # type: ignore[misc]  # Celery's
            task_id, exc, traceback, request, store_result, call_errbacks, state
        )

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Also where the application ignores the result."""
        if not store_result:
            self.record(task_id, TaskRevokedError(reason), state, None, request)
        super().mark_as_revoked(task_id, reason, request, store_result, state)  # type: ignore[misc]  # Celery's

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **how: Any,
    ) -> Any:
        """The application's own first, then the table."""
        stored = super().store_result(task_id, result, state, traceback, request=request, **how)  # type: ignore[misc]
        self.record(task_id, result, state, traceback, request)
        return stored

    def record(self, task_id: str, result: Any, state: str, traceback: str | None, request: Any) -> None:
        """Write what happened to the row of `task_id`; whatever goes wrong with that is logged, not raised."""
        if state in {states.STARTED, states.RECEIVED} or is_outside(request):
            return  # the claim has written STARTED
        try:
            self._record(task_id, result, state, traceback, request)
        except SoftTimeLimitExceeded:
            log.info("the soft time limit of %s came too late: %s is recorded", task_id, state)
        except Exception:
            log.exception("%s of %s is not recorded", state, task_id)

    def _record(self, task_id: str, result: Any, state: str, traceback: str | None, request: Any) -> None:
        if getattr(request, "id", None) != task_id:
            request = None  # update_state of another task, or no request of Celery's
        if isinstance(result, Retry):
            self._cancelled(task_id, request)
            return
        teller, scribe = _teller(request, result, state), scribe_of(self.app)
        if state not in _OUTCOMES:
            scribe.tell(Record(task_id, teller, progress=self._progress(state, result)))
            return
        outcome, call = self._outcome(result, state, traceback, request), self._call(request)
        worker = "" if call is None else request.hostname or ""
        scribe.tell(Record(task_id, teller, outcome=outcome, call=call, worker=worker))

    def _cancelled(self, task_id: str, request: Any) -> None:
        """The main process has stopped it (lost broker, cold stop): the message comes again, if the broker has it."""
        if self.app.tasks[request.task].acks_late:
            self.sent_back(request)
        else:
            self._record(task_id, TaskRevokedError("cancelled"), states.REVOKED, None, request)

    def _outcome(self, result: Any, state: str, traceback: str | None, request: Any) -> Outcome:
        if isinstance(result, BaseException):
            value = self.prepare_exception(result, "json")
        else:
            value = self.prepare_value(result)  # type: ignore[attr-defined]  # Celery's: results of results
        began = getattr(request, STARTED_AT, None)
        return Outcome(
            status=state,
            at=now(),
            result=storable(value, self._max_bytes),
            traceback=storable_traceback(traceback),
            runtime=None if began is None else monotonic() - began,
            detail={"reason": str(result)} if state == states.REVOKED else None,
            log=tasklog.text_of(request),
        )

    def _progress(self, state: str, meta: Any) -> dict[str, Any]:
        plain = storable(meta, self._max_bytes)
        progress = plain if isinstance(plain, dict) else {"value": plain}
        return progress if state == "PROGRESS" else {"state": state, **progress}

    def _call(self, request: Any) -> Call | None:
        known = request is not None and getattr(request, "task", None)
        return call_of(request, self._max_bytes) if known else None

    @property
    def _max_bytes(self) -> int:
        return settings_of(self.app).results.max_result_bytes


class RecordingBackend(Recording, BaseBackend):
    """The result backend of an application that has no other: results are read from `task_result`."""

    supports_autoexpire = True  # nobody is to schedule a clean-up behind our back

    def _store_result(self, *_: Any, **__: Any) -> None:
        """Nothing beside the record."""

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        database = database_of(self.app)
        with held_over_forks(database):
            meta = database.read(lambda session: meta_of(session, task_id))
        return self.meta_from_decoded(meta)


def recording(backend: Any) -> Any:
    """`backend` with recording added: the same object each time for the same backend."""
    if isinstance(backend, Recording):
        return backend
    known: Any = vars(backend).get("taskd_recording")
    if known is None:
        known = object.__new__(type(f"Recording{type(backend).__name__}", (Recording, type(backend)), {}))
        vars(known).update(vars(backend))
        backend.taskd_recording = known
    return known


def _mine(request: Any) -> Teller:
    return Teller("task", claim_of(request) or "")


def _worker(request: Any) -> Teller:
    return Teller("worker", incarnation(), generation_of(request), now())


def _teller(request: Any, result: Any, state: str) -> Teller:
    if request is None:
        return Teller("stranger")
    if claim_of(request):
        return _mine(request)
    if state == states.REVOKED and str(result) in _BEFORE_ITS_START:
        return Teller("worker before the start", generation=generation_of(request))
    return _worker(request)
