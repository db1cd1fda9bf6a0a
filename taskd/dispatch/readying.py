"""Gets ready what comes due soon, a page at a time while nothing is due, so that a herd finds its messages built.

Nothing depends on it: what isn't ready when it is due is compiled then.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskd.dispatch.compiled import Compiler
from taskd.store import events, schedules
from taskd.store.database import Database

AHEAD = timedelta(seconds=90)
AFTER_CHANGES = timedelta(
    seconds=10
)  # at least, between looks at all that lies ahead, however much is edited
LOOK, PAGE = 1000, 200  # schedules looked at, and compiled, before the next look at what is due


@dataclass(frozen=True, slots=True)
class Span:
    """What is due in (start, end], from the schedule after id `after` on."""

    start: datetime
    end: datetime
    after: int = 0


class Readying:
    """One thread calls `look`, when it has nothing else to do."""

    def __init__(self, database: Database, compiler: Compiler) -> None:
        self._database, self._compiler = database, compiler
        self._ready_until: datetime | None = None
        self._began: datetime | None = None
        self._change = -1
        self._span: Span | None = None
        self._unknown: list[int] = []  # of those looked at last

    def look(self, now: datetime) -> bool:
        """Compile a page; whether there is more to do at once."""
        if not self._unknown:
            self._span = self._span or self._next_span(now)
            if self._span is not None:
                self._span = self._look_on(self._span)
        page, self._unknown = self._unknown[:PAGE], self._unknown[PAGE:]
        self._compile(page)
        return bool(self._unknown or self._span)

    def _next_span(self, now: datetime) -> Span | None:
        """From where all is ready, once half of that has passed; from now on where something has changed."""
        ready = max(self._ready_until or now, now)
        if self._began is None or now - self._began >= AFTER_CHANGES:
            change = self._database.read(events.change_seq)
            ready, self._change = (ready if change == self._change else now), change
        if ready - now > AHEAD / 2:
            return None
        self._began = now
        return Span(ready, now + AHEAD)

    def _look_on(self, span: Span) -> Span | None:
        """What is left of the span."""
        found = self._database.read(
            lambda session: schedules.due_between(session, span.start, span.end, span.after, LOOK)
        )
        self._unknown = [row.id for row in found if self._compiler.known(row) is None]
        if len(found) == LOOK:
            return replace(span, after=found[-1].id)
        self._ready_until = span.end
        return None

    def _compile(self, ids: list[int]) -> None:
        if ids:
            for row in self._database.read(lambda session: schedules.rows(session, ids)):
                with suppress(Exception):  # it is quarantined when it is due
                    self._compiler.compile(row)
