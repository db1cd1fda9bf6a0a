"""How long one answer takes, beside croniter, cronsim and Celery's crontab: python bench/timing.py

Every expression is asked for its next occurrence after many different instants in a zone with daylight saving.
`cold` forgets everything before each question (parsing and the zone's transitions included); `new` asks a known
expression about a new instant; `same` repeats a question. The others start from their expression each time, as their
users do, except Celery's crontab, whose object is made once.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from celery.schedules import crontab as CeleryCrontab  # noqa: N812  a class, in spite of its name
from celery.schedules import crontab_parser
from croniter import croniter
from cronsim import CronSim

from taskd.schedule import crontab, rules, stretches, timing
from taskd.schedule.trigger import Crontab

ZONE = "Europe/Berlin"
START = datetime(2026, 1, 15, 10, 0, 30, tzinfo=UTC)
EXPRESSIONS = [
    "* * * * *",
    "*/15 * * * *",
    "30 2 * * *",
    "0 9 * * 1-5",
    "0 0 1 * *",
    "0 0 29 2 *",
    "0 0 l * *",
    "0 0 * * 5#2",
]
MODULES = (timing, rules, crontab, stretches)


def microseconds(
    ask: Callable[[datetime], object], instants: list[datetime], before: Callable[[], None] | None = None
) -> float:
    """The median over the instants."""
    taken = []
    for instant in instants:
        if before:
            before()
        start = time.perf_counter_ns()
        ask(instant)
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def forget() -> None:
    for memory in [
        value for module in MODULES for value in vars(module).values() if hasattr(value, "cache_clear")
    ]:
        memory.cache_clear()


def celery(expression: str) -> Callable[[datetime], object] | None:
    minute, hour, date, month, weekday = expression.split()
    try:
        schedule = CeleryCrontab(minute, hour, weekday, date, month)
    except (crontab_parser.ParseException, ValueError):
        return None  # no L, no #
    schedule.tz = ZoneInfo(ZONE)
    return lambda instant: schedule.remaining_delta(instant, ZoneInfo(ZONE))


def main() -> None:
    instants = [START + timedelta(minutes=7 * n, seconds=n) for n in range(300)]
    local = [instant.astimezone(ZoneInfo(ZONE)) for instant in instants]
    print(
        f"{'µs for one answer':18}{'cold':>8}{'new':>8}{'same':>8}{'cronsim':>10}{'croniter':>10}{'celery':>10}   new : cronsim"
    )
    for expression in EXPRESSIONS:
        trigger = Crontab(expression, ZONE)

        def ask(instant: datetime, trigger: Crontab = trigger) -> object:
            return timing.next_after(trigger, instant)

        def ask_cronsim(instant: datetime, expression: str = expression) -> object:
            return next(CronSim(expression, instant))

        def ask_croniter(instant: datetime, expression: str = expression) -> object:
            return croniter(expression, instant).get_next(datetime)

        cold = microseconds(ask, instants[:50], forget)
        forget()
        ask(START)
        new, same = microseconds(ask, instants), microseconds(ask, instants)
        others = [microseconds(ask_cronsim, local), microseconds(ask_croniter, local)]
        theirs = celery(expression)
        beat = f"{microseconds(theirs, local):10.1f}" if theirs else f"{'-':>10}"
        row = "".join(f"{value:8.1f}" for value in (cold, new, same)) + "".join(
            f"{value:10.1f}" for value in others
        )
        print(f"{expression:18}{row}{beat}   1 : {others[0] / new:.1f}")
    for expression in ("* * * * * *", "*/5 * * * *", "0 9 * * 1-5"):
        trigger = Crontab(expression, ZONE)
        forget()
        start = time.perf_counter()
        count = timing.count_between(trigger, START, START + timedelta(days=365))
        print(
            f"{expression:18} counted over a year: {count:,} in {(time.perf_counter() - start) * 1000:.1f} ms, cold"
        )


if __name__ == "__main__":
    main()
