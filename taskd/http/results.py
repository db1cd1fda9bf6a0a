"""`/api/v1/result/results`: what ran, what came of it."""

import re
import time
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from taskd.errors import NotAllowed, NotFound
from taskd.http import shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Instant, Name, Nothing, Paging, Pk, Repeatable, body_of, query_of
from taskd.store import events, retention, run_pages, runs
from taskd.store.claims import ACTIVE
from taskd.store.run_pages import RunFilter

Status = Literal[
    "PENDING", "STARTED", "RETRY",
    "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "MISSED", "SKIPPED", "LOST", "SENT",
]  # fmt: skip
MOST_AT_ONCE, BATCH = 10_000, 500  # runs a request, and a transaction
PAUSE = 0.01  # seconds between batches, in which others get at the table
_CURSOR = re.compile(r"(before|after)-(\d{1,18})", re.ASCII)


def _cursor(text: str) -> str:
    if not _CURSOR.fullmatch(text):
        raise ValueError("must be taken from the `next` or `prev` of a page")
    return text


class RunsQuery(Paging):
    """A page of runs: where it begins, and which runs are wanted."""

    cursor: Annotated[str, AfterValidator(_cursor)] | None = None
    task_name: str | None = None
    task_id: str | None = None
    status: Annotated[list[Status], Repeatable] = Field([])
    kind: Literal["schedule", "manual", "adhoc"] | None = None
    queue: str | None = None
    worker: str | None = None
    root_id: str | None = None
    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")

    def wanted(self, schedule: int | str | None) -> RunFilter:
        """The filter as the store takes it."""
        columns = self.model_dump(include=_FILTERS)
        return RunFilter(schedule=schedule, statuses=self.status, **columns)


class ResultsQuery(RunsQuery):
    schedule: Name | None = None


_FILTERS = set(RunsQuery.model_fields) - {"page", "size", "cursor", "status"}


def page(context: Context, request: Request) -> Answer:
    """Runs, the newest first. `from` and `to` (exclusive) are about when they were due, asked for or begun."""
    form = query_of(ResultsQuery, request)
    return page_of(context, request, form, _schedule(form.schedule))


def page_of(context: Context, request: Request, form: RunsQuery, schedule: int | str | None) -> Answer:
    """Runs, of a schedule where one is given. The links are cursors: what is added meanwhile shifts nothing."""
    direction, _, edge = (form.cursor or "").partition("-")
    found = context.database.read(
        lambda session: run_pages.page(
            session,
            form.wanted(schedule),
            limit=form.size,
            before=int(edge) if direction == "before" else None,
            after=int(edge) if direction == "after" else None,
            offset=0 if form.cursor else (form.page - 1) * form.size,
        )
    )
    ids = [row.id for row in found.rows]
    links = {
        "next": shapes.link(request, page=None, cursor=f"before-{ids[-1]}") if ids and found.older else None,
        "prev": shapes.link(request, page=None, cursor=f"after-{ids[0]}") if ids and found.newer else None,
    }
    secret_keys = context.secret_keys
    items = [shapes.run(row, secret_keys) for row in found.rows]
    number = None if form.cursor else form.page
    total = found.total
    return Answer(200, shapes.page(items, total.count, number, form.size, links, estimated=total.estimated))


def one(context: Context, request: Request) -> Answer:
    """One run, by its id or task_id."""
    query_of(Nothing, request)
    row = context.database.read(lambda session: runs.find(session, request.pk))
    return Answer(200, shapes.run(row, context.secret_keys))


def log(context: Context, request: Request) -> Answer:
    """What the run's task logged: the end of it. While it runs, it grows every two seconds."""
    query_of(Nothing, request)
    row = context.database.read(lambda session: runs.find(session, request.pk))
    shape = shapes.run(row, context.secret_keys)
    return Answer(200, {key: shape[key] for key in ("id", "task_id", "status", "log")})


class DeletionBody(Form):
    """Which runs: those of `pks` (ids or task ids), or those that ended before `before`, in one of `status` or in any."""

    pks: Annotated[list[Pk], Field(min_length=1, max_length=1000)] | None = None
    before: Instant | None = None
    status: list[Status] = Field([])

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.pks is None) == (self.before is None):
            raise ValueError("give either pks, or before")
        if self.pks is not None and self.status:
            raise ValueError("status goes with before: pks names the runs already")
        if active := sorted(set(self.status).intersection(ACTIVE)):
            raise ValueError(
                f"{', '.join(active)} runs are active: only those that have ended can be deleted"
            )
        return self


def delete(context: Context, request: Request) -> Answer:
    """Delete runs that have ended; of those before an instant at most MOST_AT_ONCE: `more` says whether any are left."""
    query_of(Nothing, request)
    form = body_of(DeletionBody, request)
    if form.pks is not None:
        told = [_deleted(context, request, pk) for pk in dict.fromkeys(form.pks)]
        _note(context, request, sum(each["status"] == 200 for each in told), {})
        return Answer(200, {"results": told})
    before, statuses, deleted = form.before, form.status, 0
    assert before is not None
    while deleted < MOST_AT_ONCE:
        count = context.database.write(lambda session: retention.purge_runs(session, before, statuses, BATCH))
        deleted += count
        if count < BATCH:
            break
        time.sleep(PAUSE)
    _note(context, request, deleted, {"before": before.isoformat(), "status": list(statuses)})
    return Answer(200, {"deleted": deleted, "more": deleted >= MOST_AT_ONCE})


def _deleted(context: Context, request: Request, pk: int | str) -> dict[str, Any]:
    try:
        key = request.key(str(pk))
        row = context.database.write(lambda session: retention.delete_run(session, key))
    except NotFound as error:
        return {"pk": pk, "status": 404, "detail": str(error)}
    except NotAllowed as error:
        return {"pk": pk, "status": 409, "detail": str(error)}
    return {"pk": pk, "status": 200, "detail": f"run {row.id} is deleted"}


def _note(context: Context, request: Request, deleted: int, detail: dict[str, Any]) -> None:
    if deleted:
        told = {"count": deleted, **detail}
        context.database.write(
            lambda session: events.record(session, "purged", request.actor, request.now, detail=told)
        )


def _schedule(pk: str | None) -> int | str | None:
    """An id that a database can hold, or a name."""
    return int(pk) if pk and pk.isdecimal() and len(pk) <= 18 else pk
