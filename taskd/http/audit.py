"""`/api/v1/scheduler/schedulers/{pk}/events`: who did what to a schedule, when, and what it was before."""

from sqlalchemy.orm import Session

from taskd.http import shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Paging, query_of
from taskd.store import events as store
from taskd.store import history
from taskd.store.tables import EventRow


def events(context: Context, request: Request) -> Answer:
    """A page of what was done to it, the newest first; also of one that was deleted."""
    form = query_of(Paging, request)

    def look(session: Session) -> tuple[list[EventRow], int]:
        row = history.find(session, request.pk)
        return store.of_schedule(session, row, (form.page - 1) * form.size, form.size)

    rows, total = context.database.read(look)
    items = [shapes.event(row, context.secret_keys) for row in rows]
    return Answer(200, shapes.numbered(request, items, total, form.page, form.size))
