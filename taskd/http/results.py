"""`/api/v1/result/results`: what ran, what came of it."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from taskd.http import shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Instant, Name, Nothing, Paging, Repeatable, query_of
from taskd.store import run_pages, runs
from taskd.store.run_pages import RunFilter

Status = Literal[
    "PENDING", "STARTED", "RETRY",
    "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "MISSED", "SKIPPED", "LOST", "SENT",
]  # fmt: skip
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


class _Query(RunsQuery):
    schedule: Name | None = None


_FILTERS = set(RunsQuery.model_fields) - {"page", "size", "cursor", "status"}


def page(context: Context, request: Request) -> Answer:
    """Runs, the newest first. `from` and `to` (exclusive) are about when they were due, asked for or begun."""
    form = query_of(_Query, request)
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
    items = [shapes.run(row, context.secret_keys) for row in found.rows]
    number = None if form.cursor else form.page
    return Answer(200, shapes.page(items, found.total, number, form.size, links))


def one(context: Context, request: Request) -> Answer:
    """One run, by its id or task_id."""
    query_of(Nothing, request)
    row = context.database.read(lambda session: runs.find(session, request.pk))
    return Answer(200, shapes.run(row, context.secret_keys))


def _schedule(pk: str | None) -> int | str | None:
    """An id that a database can hold, or a name."""
    return int(pk) if pk and pk.isdecimal() and len(pk) <= 18 else pk
