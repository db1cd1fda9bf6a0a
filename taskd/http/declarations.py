"""`/api/v1/scheduler/schedulers`: create, replace, merge, delete and give away the schedules that the API owns.

A body is a declaration with the keys of the files and `name`, and is refused with the same sentences.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from taskd.errors import NotAllowed, NotFound
from taskd.http import shapes, sync
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Nothing, Pk, body_of, query_of
from taskd.http.problems import Problem
from taskd.http.versions import check_version, etag, idempotency_key, written
from taskd.reconcile import owned
from taskd.redaction import MASK, redact
from taskd.schedule.declaration import declaration_of, merged
from taskd.schedule.faults import Fault, faults_of, shown
from taskd.schedule.spec import ScheduleSpec
from taskd.store import schedules
from taskd.store.tables import ScheduleRow

SCHEDULERS = "/api/v1/scheduler/schedulers"
MOST_ERRORS = 20
MOST_AT_ONCE = 1000


class ManyBody(Form):
    pks: Annotated[list[Pk], Field(min_length=1, max_length=MOST_AT_ONCE)]


def create(context: Context, request: Request) -> Answer:
    """A new schedule; the same Idempotency-Key and declaration give the same one."""
    query_of(Nothing, request)
    spec, key = _spec(context, _declaration(context, request)), idempotency_key(request)

    def work(session: Session) -> Answer:
        row = owned.create(session, spec, request.actor, request.now, context.secret_keys, key)
        return _answer(context, 201, row, Location=f"{SCHEDULERS}/{row.id}")

    try:
        return written(context, work)
    except IntegrityError as error:
        raise NotAllowed(f"there is a schedule {spec.name!r} already: it was made just now") from error


def replace(context: Context, request: Request) -> Answer:
    """The schedule as declared in the body; what the body leaves out is its default again."""
    given = _declaration(context, request)
    return _redeclared(context, request, lambda _: given)


def merge(context: Context, request: Request) -> Answer:
    """The schedule with what the body says: RFC 7396, so null takes a key out, and maps are merged."""
    patch = _declaration(context, request)
    return _redeclared(context, request, lambda row: merged(declaration_of(schedules.declared(row)), patch))


def delete(context: Context, request: Request) -> Answer:
    """Delete it: its history stays, what isn't published yet is SKIPPED."""
    query_of(Nothing, request)
    body_of(Nothing, request)

    def work(session: Session) -> Answer:
        row = _locked(session, request)
        owned.delete(session, row, request.actor, request.now, context.secret_keys)
        return _answer(context, 200, row)

    return written(context, work)


def delete_many(context: Context, request: Request) -> Answer:
    """Delete those that `pks` names, ids or names; what became of each is told."""
    query_of(Nothing, request)
    pks = list(dict.fromkeys(body_of(ManyBody, request).pks))

    def work(session: Session) -> Answer:
        told = {pk: _deleted(context, session, request, pk) for pk in sorted(pks, key=str)}
        return Answer(200, {"results": [told[pk] for pk in pks]})

    return written(context, work)


def adopt(context: Context, request: Request) -> Answer:
    """Hand it to the file that declares its name, in a pass of its own; 409 where none does. A file's own stays so."""
    query_of(Nothing, request)
    body_of(Nothing, request)
    found = context.database.read(lambda session: schedules.find(session, request.pk))
    if found.owner == "api":
        sync.adopt(context, request.actor, found.name)
    return context.database.read(lambda session: _answer(context, 200, schedules.find(session, found.id)))


def _deleted(context: Context, session: Session, request: Request, pk: int | str) -> dict[str, Any]:
    try:
        row = schedules.find(session, request.key(str(pk)), lock=True)
        owned.delete(session, row, request.actor, request.now, context.secret_keys)
    except NotFound as error:
        return {"pk": pk, "status": 404, "detail": str(error)}
    except NotAllowed as error:
        return {"pk": pk, "status": 409, "detail": str(error), "path": error.path, "line": error.line}
    session.flush()
    return {"pk": pk, "status": 200, "detail": f"{row.name!r} is deleted"}


def _redeclared(
    context: Context, request: Request, declaration: Callable[[ScheduleRow], Mapping[str, Any]]
) -> Answer:
    query_of(Nothing, request)

    def work(session: Session) -> Answer:
        row = _locked(session, request)
        given = {"name": row.name, **declaration(row)}
        spec = _spec(context, given)
        if spec.name != row.name:
            raise _invalid([Fault(("name",), "can't be changed: create one of that name")], given, context)
        owned.redeclare(session, row, spec, request.actor, request.now, context.secret_keys)
        return _answer(context, 200, row)

    return written(context, work)


def _locked(session: Session, request: Request) -> ScheduleRow:
    """The API-owned schedule that is meant, as it was when the client looked; raises NotAllowed, Problem (412)."""
    row = schedules.find(session, request.pk, lock=True)
    owned.check_owner(row)
    check_version(request, row)
    return row


def _answer(context: Context, status: int, row: ScheduleRow, **headers: str) -> Answer:
    return Answer(status, shapes.schedule(row, context.secret_keys), {"ETag": etag(row), **headers})


def _declaration(context: Context, request: Request) -> dict[str, Any]:
    """The body, a map in which no secret stands as answers show it."""
    given = request.body
    if not isinstance(given, dict):
        raise _invalid([Fault((), f"must be a map of keys and values, not {shown(given)}")], given, context)
    if masks := list(_masks(given, context, ())):
        raise _invalid(masks, given, context)
    return given


def _masks(value: Any, context: Context, at: tuple[str | int, ...]) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if inner == MASK and redact({key: ""}, context.secret_keys)[key] == MASK:
            yield Fault((*at, key), "is the mask that answers show: give the value itself")
        yield from _masks(inner, context, (*at, key))


def _spec(context: Context, declaration: Mapping[str, Any]) -> ScheduleSpec:
    try:
        spec = ScheduleSpec.read(declaration, context.settings.timezone)
    except ValidationError as error:
        raise _invalid(faults_of(error), declaration, context) from error
    if spec.replaces is not None:
        raise _invalid([Fault(("replaces",), "is for files: take it out")], declaration, context)
    return spec


def _invalid(faults: list[Fault], given: Any, context: Context) -> Problem:
    errors = [
        {"loc": ["body", *fault.loc], "msg": fault.message, "input": _input(given, fault, context)}
        for fault in faults[:MOST_ERRORS]
    ]
    return Problem(422, f"the body isn't valid: {'; '.join(map(str, faults[:MOST_ERRORS]))}", errors=errors)


def _input(given: Any, fault: Fault, context: Context) -> Any:
    """What stands at the fault, as far as one may see it; lists and maps by their kind."""
    for key in fault.loc:
        try:
            given = redact(given, context.secret_keys)[key]
        except (KeyError, IndexError, TypeError):
            return None
    return shown(given) if isinstance(given, list | dict) else given
