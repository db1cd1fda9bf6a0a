"""`/api/v1/scheduler/schedulers`: look at schedules; start, pause, resume and trigger them."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args

from kombu.exceptions import EncodeError, SerializerNotInstalled
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from sqlalchemy.orm import Session

from taskd.dispatch import manual
from taskd.errors import NotAllowed
from taskd.http import occurrences, results, shapes
from taskd.http.exchange import Answer, Context, Parts, Request
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
from taskd.http.versions import etag, idempotency_key, written
from taskd.schedule.faults import did_you_mean
from taskd.schedule.overlap import OverlapPolicy
from taskd.schedule.spec import ScheduleType
from taskd.store import overrides, runs, schedule_pages, schedules
from taskd.store.schedule_pages import ScheduleFilter, SortKey
from taskd.store.tables import ScheduleRow

PART = 500  # schedules that are read and sent at once where all are asked for
BESIDE = 10  # coming occurrences and past runs that one schedule is shown with

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


_SORTS = {"enum": [f"{sign}{key}" for key in get_args(SortKey) for sign in ("", "-")], "default": "name"}


def _label(text: str) -> str:
    key, colon, value = text.partition(":")
    if not (key and colon and value) or set(key) & set('"\\'):
        raise ValueError("must be key:value, the key without quotes or backslashes")
    return text


class SchedulesQuery(Form):
    name: Name | None = None
    task: str | None = None
    enabled: bool | None = None
    paused: bool | None = None
    state: Literal["quarantined", "completed", "ended", "disabled", "paused", "active"] | None = None
    owner: Literal["file", "api"] | None = None
    schedule_type: ScheduleType | None = None
    label: Annotated[list[Annotated[str, AfterValidator(_label)]], Repeatable] = Field([])
    sort: Annotated[Sort, BeforeValidator(_sort), WithJsonSchema(_SORTS)] = Sort()

    def wanted(self) -> ScheduleFilter:
        """The filter as the store takes it."""
        columns = self.model_dump(include=set(SchedulesQuery.model_fields) - {"label", "sort"})
        return ScheduleFilter(**columns, labels=dict(label.split(":", 1) for label in self.label))


class SchedulesPage(SchedulesQuery, Paging):
    pass


class StartBody(Form):
    reason: Sentence | None = None


class PauseBody(StartBody):
    until: Instant | None = None


class ResumeBody(StartBody):
    catch_up: Annotated[bool, Field(strict=True)] = False


class TriggerBody(Form):
    overlap: OverlapPolicy | None = None
    args: Annotated[list[Any], Json] | None = None
    kwargs: Annotated[dict[str, Any], Json] | None = None


def page(context: Context, request: Request) -> Answer:
    """The schedules that the filters let through, a page of them."""
    form = query_of(SchedulesPage, request)
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
    secret_keys = context.secret_keys
    items = [shapes.schedule(row, secret_keys) for row in rows]
    return Answer(200, shapes.numbered(request, items, total, form.page, form.size))


def every(context: Context, request: Request) -> Answer:
    """All schedules that the filters let through, as they were when the first was read; but for those gone since."""
    form = query_of(SchedulesQuery, request)
    ids = context.database.read(
        lambda session: schedule_pages.ids(
            session, form.wanted(), form.sort.key, descending=form.sort.descending
        )
    )
    return Answer(
        200, Parts(_shapes(context, ids[start : start + PART]) for start in range(0, len(ids), PART))
    )


def _shapes(context: Context, ids: list[int]) -> list[dict[str, Any]]:
    def work(session: Session) -> list[dict[str, Any]]:
        return [shapes.schedule(row, context.secret_keys) for row in schedule_pages.among(session, ids)]

    return context.database.read(work)


def one(context: Context, request: Request) -> Answer:
    """One schedule, with its next occurrences and its last runs."""
    query_of(Nothing, request)

    def look(session: Session) -> Answer:
        row = schedules.find(session, request.pk)
        newest = [shapes.run(run, context.secret_keys) for run in runs.of_schedule(session, row, BESIDE)]
        coming = occurrences.listed(row, request.now, BESIDE)
        told = shapes.schedule(row, context.secret_keys) | {"next": coming, "runs": newest}
        return Answer(200, told, {"ETag": etag(row)})

    return context.database.read(look)


def history(context: Context, request: Request) -> Answer:
    """The schedule's runs, as `/result/results` lists them."""
    form = query_of(results.RunsQuery, request)
    row = context.database.read(lambda session: schedules.find(session, request.pk))
    return results.page_of(context, request, form, row.id)


def start(context: Context, request: Request) -> Answer:
    """Make it effective; 409 where a file says `enabled: false`."""
    form = body_of(StartBody, request)
    return _override(context, request, overrides.start, form.reason)


def pause(context: Context, request: Request) -> Answer:
    """Keep it from firing until someone resumes it, or until `until`."""
    form = body_of(PauseBody, request)
    if form.until is not None and form.until <= request.now:
        raise Problem(422, f"until: {form.until.isoformat()} has passed: give a time to come")
    return _override(context, request, partial(overrides.pause, until=form.until), form.reason)


def resume(context: Context, request: Request) -> Answer:
    """Let it fire again, from now on; with `catch_up` the paused span is caught up like an outage."""
    form = body_of(ResumeBody, request)
    return _override(context, request, partial(overrides.resume, catch_up=form.catch_up), form.reason)


def trigger(context: Context, request: Request) -> Answer:
    """Run it now; the same Idempotency-Key gives the same run."""
    query_of(Nothing, request)
    form = body_of(TriggerBody, request)
    key = idempotency_key(request)

    def work(session: Session) -> Answer:
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
        except (EncodeError, SerializerNotInstalled) as error:
            raise NotAllowed(
                f"{row.name!r} can't be run: its message can't be serialised: {error}", row.path, row.line
            ) from error
        return Answer(202, {"id": run.id, "task_id": run.task_id, "status": run.status})

    return written(context, work)


def _override(context: Context, request: Request, change: Override, reason: str | None) -> Answer:
    query_of(Nothing, request)

    def work(session: Session) -> Answer:
        row = schedules.find(session, request.pk, lock=True)
        change(session, row, request.actor, reason, request.now)
        return Answer(200, shapes.schedule(row, context.secret_keys), {"ETag": etag(row)})

    return written(context, work)
