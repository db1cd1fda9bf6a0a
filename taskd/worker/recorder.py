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
"""

import logging
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Retry, TaskRevokedError
from sqlalchemy import ColumnElement
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from taskd.clock import monotonic, now
from taskd.errors import DatabaseUnavailable
from taskd.store import claims
from taskd.store.claims import Call, Outcome, Start, Verdict
from taskd.worker.calls import CLAIM, STARTED_AT, call_of, claim_of, generation_of, is_outside
from taskd.worker.connection import database_of, patiently, settings_of
from taskd.worker.life import incarnation
from taskd.worker.meta import meta_of
from taskd.worker.values import storable, storable_traceback

log = logging.getLogger("taskd.worker")

# How long a record waits for a database that is away (seconds). The main process also serves the broker, so
# there it is short; where a task runs it only holds up that task's slot.
PATIENCE_OF_A_TASK = 30.0
PATIENCE_OF_THE_PARENT = 5.0
_OUTCOMES = {states.SUCCESS, states.FAILURE, states.RETRY, states.REVOKED, states.IGNORED}
_BEFORE_ITS_START = {"revoked", "expired"}  # Celery's reasons, as opposed to "terminated"


class Recording:
    """Adds recording to a result backend class that comes after it."""

    app: Any
    prepare_exception: Any

    def claim(self, request: Any) -> Verdict:
        """W1, waiting for the database; raises its error after PATIENCE_OF_A_TASK."""
        token = claims.new_token(incarnation())
        call = call_of(request, self._max_bytes)

        def begin() -> Verdict:
            request.update({CLAIM: token, STARTED_AT: monotonic()})
            start = Start(call, token, generation_of(request), request.hostname or "", now())
            return claims.begin(database_of(self.app), start)

        return patiently(begin, PATIENCE_OF_A_TASK, f"the start of {call.task_name}[{call.task_id}]")

    def give_back(self, request: Any) -> None:
        """The message goes back to the broker: the run waits for its next delivery."""
        where = _mine(request)
        self._write(
            request.id, "PENDING", request, lambda session: claims.give_back(session, request.id, where)
        )

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
        except Exception:
            log.exception("%s of %s is not recorded", state, task_id)

    def _record(self, task_id: str, result: Any, state: str, traceback: str | None, request: Any) -> None:
        if request is not None and request.id != task_id:
            request = None  # update_state of another task
        if isinstance(result, Retry):
            self._cancelled(task_id, request)
            return
        where = _allowed(request, result, state)
        if state not in _OUTCOMES:
            progress = self._progress(state, result)
            self._write(
                task_id,
                state,
                request,
                lambda session: claims.note_progress(session, task_id, progress, where),
            )
        else:
            outcome, call = self._outcome(result, state, traceback, request), self._call(request)
            self._write(
                task_id, state, request, lambda session: _end(session, task_id, call, outcome, where, request)
            )

    def _cancelled(self, task_id: str, request: Any) -> None:
        """The main process has stopped it (lost broker, cold stop): the message comes again, if the broker has it."""
        if self.app.tasks[request.task].acks_late:
            where = claims.held_in(incarnation(), generation_of(request))
            self._write(
                task_id, "PENDING", request, lambda session: claims.give_back(session, task_id, where)
            )
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
        )

    def _progress(self, state: str, meta: Any) -> dict[str, Any]:
        plain = storable(meta, self._max_bytes)
        progress = plain if isinstance(plain, dict) else {"value": plain}
        return progress if state == "PROGRESS" else {"state": state, **progress}

    def _call(self, request: Any) -> Call | None:
        known = request is not None and getattr(request, "task", None)
        return call_of(request, self._max_bytes) if known else None

    def _write(self, task_id: str, status: str, request: Any, work: Any) -> None:
        patience = PATIENCE_OF_A_TASK if claim_of(request) else PATIENCE_OF_THE_PARENT
        database, what = database_of(self.app), f"the record {status} of {task_id}"
        try:
            if not patiently(lambda: database.write(work), patience, what):
                log.debug("%s changed nothing: the run has ended, or is another's", what)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            log.error("%s is lost: %s", what, error)  # noqa: TRY400  one line; the driver's frames say no more

    @property
    def _max_bytes(self) -> int:
        return settings_of(self.app).results.max_result_bytes


class RecordingBackend(Recording, BaseBackend):
    """The result backend of an application that has no other: results are read from `task_result`."""

    supports_autoexpire = True  # nobody is to schedule a clean-up behind our back

    def _store_result(self, *_: Any, **__: Any) -> None:
        """Nothing beside the record."""

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        meta = database_of(self.app).read(lambda session: meta_of(session, task_id))
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


def _mine(request: Any) -> ColumnElement[bool]:
    return claims.held_by(claim_of(request) or "")


def _allowed(request: Any, result: Any, state: str) -> ColumnElement[bool]:
    if request is None:
        return claims.waiting()
    if claim_of(request):
        return _mine(request)
    if state == states.REVOKED and str(result) in _BEFORE_ITS_START:
        return claims.not_begun(generation_of(request))
    return claims.held_in(incarnation(), generation_of(request))


def _end(
    session: Session,
    task_id: str,
    call: Call | None,
    outcome: Outcome,
    where: ColumnElement[bool],
    request: Any,
) -> bool:
    if call is None:
        return claims.finish(session, task_id, outcome, where)
    return claims.finish_or_insert(session, call, request.hostname, outcome, where)
