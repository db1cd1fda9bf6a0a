"""`/api/v1/scheduler/schedulers`: look at schedules; start, pause, resume and trigger them."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args

from kombu.exceptions import EncodeError
from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy.orm import Session

from taskd.dispatch import manual
from taskd.errors import NotAllowed
from taskd.http import occurrences, results, shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import (
    Form,
    Instant,
    Json,
    Name,
    Nothing,
    Paging,
    Repeatable,
    Sentence,
    body_of,
    query_of,
)
from taskd.http.problems import Problem
from taskd.schedule.faults import did_you_mean
from taskd.schedule.overlap import OverlapPolicy
from taskd.schedule.spec import ScheduleType
from taskd.store import overrides, runs, schedule_pages, schedules
from taskd.store.schedule_pages import ScheduleFilter, SortKey
from taskd.store.tables import ScheduleRow

BESIDE = 10  # coming occurrences and past runs that one schedule is shown with
LONGEST_KEY = 255  # characters of an Idempotency-Key

Override = Callable[[Session, ScheduleRow, str, str | None, datetime], None]


class Sort(NamedTuple):
    """An order of schedules, written as a column, with `-` in front where it descends."""

    key: SortKey = "name"
    descending: bool = False


def _sort(text: object) -> Sort:
    key = str(text).removeprefix("-")
    for known in get_args(SortKey):
        if key == known:
            return Sort(known, str(text).startswith("-"))
    hint = did_you_mean(key, get_args(SortKey)) or f": use {', '.join(get_args(SortKey))}"
    raise ValueError(f"schedules can't be sorted by {key!r}{hint}")


def _label(text: str) -> str:
    key, colon, value = text.partition(":")
    if not (key and colon and value) or set(key) & set('"\\'):
        raise ValueError("must be key:value, the key without quotes or backslashes")
    return text


class _Filter(Form):
    name: Name | None = None
    task: str | None = None
    enabled: bool | None = None
    paused: bool | None = None
    state: Literal["quarantined", "completed", "ended", "disabled", "paused", "active"] | None = None
    owner: Literal["file", "api"] | None = None
    schedule_type: ScheduleType | None = None
    label: Annotated[list[Annotated[str, AfterValidator(_label)]], Repeatable] = Field([])
    sort: Annotated[Sort, BeforeValidator(_sort)] = Sort()

    def wanted(self) -> ScheduleFilter:
        """The filter as the store takes it."""
        columns = self.model_dump(include=set(_Filter.model_fields) - {"label", "sort"})
        return ScheduleFilter(**columns, labels=dict(label.split(":", 1) for label in self.label))


class _Page(_Filter, Paging):
    pass


class _Start(Form):
    reason: Sentence | None = None


class _Pause(_Start):
    until: Instant | None = None


class _Resume(_Start):
    catch_up: Annotated[bool, Field(strict=True)] = False


class _Trigger(Form):
    overlap: OverlapPolicy | None = None
    args: Annotated[list[Any], Json] | None = None
    kwargs: Annotated[dict[str, Any], Json] | None = None


def page(context: Context, request: Request) -> Answer:
    """The schedules that the filters let through, a page of them."""
    form = query_of(_Page, request)
    rows, total = context.database.read(
        lambda session: schedule_pages.page(
            session,
            form.wanted(),
            form.sort.key,
            descending=form.sort.descending,
            offset=(form.page - 1) * form.size,
            limit=form.size,
        )
    )
    links = {
        "next": shapes.link(request, page=form.page + 1) if form.page * form.size < total else None,
        "prev": shapes.link(request, page=form.page - 1) if form.page > 1 else None,
    }
    items = [shapes.schedule(row, context.secret_keys) for row in rows]
    return Answer(200, shapes.page(items, total, form.page, form.size, links))


def every(context: Context, request: Request) -> Answer:
    """All schedules that the filters let through."""
    form = query_of(_Filter, request)
    query = schedule_pages.select_schedules(form.wanted(), form.sort.key, descending=form.sort.descending)
    secret_keys = context.secret_keys
    return Answer(
        200,
        context.database.read(
            lambda session: [shapes.schedule(row, secret_keys) for row in session.scalars(query)]
        ),
    )


def one(context: Context, request: Request) -> Answer:
    """One schedule, with its next occurrences and its last runs."""
    query_of(Nothing, request)

    def look(session: Session) -> dict[str, Any]:
        row = schedules.find(session, request.pk)
        newest = [shapes.run(run, context.secret_keys) for run in runs.of_schedule(session, row, BESIDE)]
        coming = occurrences.listed(row, request.now, BESIDE)
        return shapes.schedule(row, context.secret_keys) | {"next": coming, "runs": newest}

    return Answer(200, context.database.read(look))


def history(context: Context, request: Request) -> Answer:
    """The schedule's runs, as `/result/results` lists them."""
    form = query_of(results.RunsQuery, request)
    row = context.database.read(lambda session: schedules.find(session, request.pk))
    return results.page_of(context, request, form, row.id)


def start(context: Context, request: Request) -> Answer:
    """Make it effective; 409 where a file says `enabled: false`."""
    form = body_of(_Start, request)
    return _override(context, request, overrides.start, form.reason)


def pause(context: Context, request: Request) -> Answer:
    """Keep it from firing until someone resumes it, or until `until`."""
    form = body_of(_Pause, request)
    if form.until is not None and form.until <= request.now:
        raise Problem(422, f"until: {form.until.isoformat()} has passed: give a time to come")
    return _override(context, request, partial(overrides.pause, until=form.until), form.reason)


def resume(context: Context, request: Request) -> Answer:
    """Let it fire again, from now on; with `catch_up` the paused span is caught up like an outage."""
    form = body_of(_Resume, request)
    return _override(context, request, partial(overrides.resume, catch_up=form.catch_up), form.reason)


def trigger(context: Context, request: Request) -> Answer:
    """Run it now; the same Idempotency-Key gives the same run."""
    query_of(Nothing, request)
    form = body_of(_Trigger, request)
    key = _idempotency_key(request)

    def work(session: Session) -> dict[str, Any]:
        row = schedules.find(session, request.pk, lock=True)
        try:
            run = manual.trigger(
                session,
                context.app,
                row,
                request.actor,
                request.now,
                args=form.args,
                kwargs=form.kwargs,
                key=key,
                overlap=form.overlap,
                secret_keys=context.secret_keys,
            )
        except EncodeError as error:
            raise NotAllowed(
                f"{row.name!r} can't be run: its message can't be serialised: {error}", row.path, row.line
            ) from error
        return {"id": run.id, "task_id": run.task_id, "status": run.status}

    return Answer(202, _written(context, work))


def _override(context: Context, request: Request, change: Override, reason: str | None) -> Answer:
    query_of(Nothing, request)

    def work(session: Session) -> dict[str, Any]:
        row = schedules.find(session, request.pk, lock=True)
        change(session, row, request.actor, reason, request.now)
        return shapes.schedule(row, context.secret_keys)

    return Answer(200, _written(context, work))


def _written(context: Context, work: Callable[[Session], dict[str, Any]]) -> dict[str, Any]:
    """Commit, then wake: an answer that says done is about what is on disk."""
    outcome = context.database.write(work)
    context.wake()
    return outcome


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise Problem(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")
    return key
