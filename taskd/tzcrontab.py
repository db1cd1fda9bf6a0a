"""`taskd.TzCrontab`: a crontab in a time zone of its own, for any `beat_schedule`.

Celery's crontab is read in the application's zone, loses the second pass of a repeated hour and what the clocks
skip. This one asks the evaluator that taskd's own schedules use; what that refuses is refused here, when the
schedule is made.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from celery import Celery
from celery.schedules import BaseSchedule, schedstate

from taskd.errors import InvalidSchedule
from taskd.schedule import timing
from taskd.schedule.crontab import validate
from taskd.schedule.pattern import as_list
from taskd.schedule.trigger import Crontab, DayMatch
from taskd.schedule.zones import zone

Cronspec = int | str | Iterable[int]
_MOMENT = timedelta(microseconds=1)
# Celery reads a name by its first three letters; `fril`, the last Friday, isn't one.
_FULL_NAME = {"day_of_week": r"([a-z]{3})[a-z]*day", "month_of_year": r"([a-z]{3})[a-z]+"}


class TzCrontab(BaseSchedule):
    """Due where the wall clock of `timezone` matches; a drop-in for `celery.schedules.crontab`.

    The first five arguments are Celery's: an int, a crontab field, or several ints. `timezone` is an IANA name,
    by default the application's. With both day arguments restricted both must match, as in Celery; `day_match="or"`
    takes either, as cron does. `nowfun` returns the current time; a naive one, as everywhere in Celery, is UTC.

    Raises InvalidSchedule (a ValueError) for what can't be evaluated, or never occurs.
    """

    nowfun: Callable[[], datetime] | None  # what BaseSchedule sets; Celery's stubs misspell it

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        timezone: str | None = None,
        *,
        day_match: DayMatch = "and",
        nowfun: Callable[[], datetime] | None = None,
        app: Celery | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        given = {
            "minute": minute,
            "hour": hour,
            "day_of_month": day_of_month,
            "month_of_year": month_of_year,
            "day_of_week": day_of_week,
        }
        self._fields = {name: _field(name, spec) for name, spec in given.items()}
        self._timezone, self._day_match = timezone, day_match
        validate(self.expression, day_match, day_match_given=True)
        if timezone is not None:
            zone(timezone)

    @property
    def fields(self) -> dict[str, str]:
        """The five fields by their names as arguments."""
        return dict(self._fields)

    @property
    def expression(self) -> str:
        """The five fields in cron's order."""
        return " ".join(self._fields.values())

    @property
    def trigger(self) -> Crontab:
        """What the evaluator is asked about; raises InvalidSchedule where the application's zone has no IANA name."""
        return Crontab(self.expression, self._timezone or _name_of(self.app.timezone), self._day_match)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether an occurrence has come since `last_run_at`, and the seconds until the next one.

        What has waited longer than `beat_cron_starting_deadline` (seconds) isn't due any more.
        """
        now = self._now()
        due = self._next(last_run_at) <= now and self._in_time(now)
        # After the clock was set back the last run lies ahead: nothing fires again until it has passed.
        wait = self._next(max(self._instant(last_run_at), now)) - now
        return schedstate(due, wait.total_seconds())

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until the first occurrence after `last_run_at`; negative when that has passed."""
        return self._next(last_run_at) - self._now()

    def _in_time(self, now: datetime) -> bool:
        deadline = self.app.conf.beat_cron_starting_deadline
        return deadline is None or self._next(now - timedelta(seconds=deadline) - _MOMENT) <= now

    def _next(self, instant: datetime) -> datetime:
        found = timing.next_after(self.trigger, self._instant(instant))
        return datetime.max.replace(tzinfo=UTC) if found is None else found

    def _now(self) -> datetime:
        return self._instant(self.now())

    @staticmethod
    def _instant(moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def _key(self) -> tuple[Any, ...]:
        return self.expression, self._timezone, self._day_match, self.nowfun

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, TzCrontab) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        where = self._timezone or "the application's zone"
        return f"<TzCrontab: {self.expression} in {where} (m/h/dM/MY/d)>"

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        # Beat's shelf keeps schedules, and hands each to its application again: that isn't stored.
        keywords: dict[str, Any] = {
            "timezone": self._timezone,
            "day_match": self._day_match,
            "nowfun": self.nowfun,
        }
        return partial(type(self), **self._fields | keywords), ()


def _field(name: str, spec: Cronspec | None) -> str:
    """A crontab field for what Celery takes as one."""
    match spec:
        case None:
            return "*"
        case int():
            return str(spec)
        case str():
            field = "".join(spec.lower().split())  # Celery reads `0, 30` too
            field = re.sub(_FULL_NAME[name], r"\1", field) if name in _FULL_NAME else field
        case Iterable():
            field = as_list(spec)
        case _:
            raise TypeError(f"{name} must be an int, a str or several ints, not {type(spec).__name__}")
    if not field:
        raise InvalidSchedule(f"{name} is empty: leave it out for every {name.partition('_of_')[0]}")
    return field


def _name_of(tz: Any) -> str:
    name = getattr(tz, "key", None)
    if name is None:
        raise InvalidSchedule(
            f"the application's time zone ({tz}) has no IANA name: give TzCrontab its timezone"
        )
    return str(name)
