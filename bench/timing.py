"""How long one answer takes, beside croniter, cronsim and Celery's crontab: python bench/timing.py [seconds of search]

Every expression is asked for its next occurrence after many different instants in a zone with daylight saving.
`cold` forgets everything before each question (parsing and the zone's transitions included); `new` asks a known
expression about a new instant; `same` repeats a question. The others start from their expression each time, as their
users do, except Celery's crontab, whose object is made once.

Then the costliest cold answers that a random search finds: lists and ranges, rare days, both day fields restricted, all
zones and `dst` overrides, instants from 1970 to 2100, half of them just where the expression is due. It goes by the
calls that Python makes, which a busy machine doesn't change; the time is the thread's, the best of nine.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import crontab as CeleryCrontab  # noqa: N812  a class, in spite of its name
from celery.schedules import crontab_parser
from croniter import croniter
from cronsim import CronSim

from taskd.schedule import crontab, rules, stretches, timing
from taskd.schedule.trigger import Crontab, Dst

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


def _field(dice: random.Random, low: int, high: int) -> str:
    first, last = sorted((dice.randint(low, high), dice.randint(low, high)))
    listed = ",".join(str(dice.randint(low, high)) for _ in range(dice.randint(1, 8)))
    return dice.choice(["*", str(first), listed, f"{first}-{last}", f"*/{max(last - low, 1)}"])


def _trigger(dice: random.Random) -> Crontab | None:
    date = dice.choice([_field(dice, 1, 31), "29", "30", "31", "l", "lw", "29w", "31w", "1,15,29w"])
    weekday = dice.choice([_field(dice, 0, 6), f"{dice.randint(0, 6)}#5", f"{dice.randint(0, 6)}l"])
    month = dice.choice([_field(dice, 1, 12), "2", "*"])
    expression = f"{_field(dice, 0, 59)} {_field(dice, 0, 59)} {_field(dice, 0, 23)} {date} {month} {weekday}"
    gap, overlap = (
        dice.choice([None, "run_after", "skip"]),
        dice.choice([None, "first", "both"]),
    )
    day_match = dice.choice(["or", "and"])
    try:
        crontab.validate(expression, day_match, day_match_given=True)
    except ValueError:
        return None
    return Crontab(expression, dice.choice(sorted(available_timezones())), day_match, Dst(gap, overlap))


def calls(ask: Callable[[], object]) -> int:
    """How many calls Python makes for one cold answer."""
    seen = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event in {"call", "c_call"}

    forget()
    sys.setprofile(count)
    try:
        ask()
    finally:
        sys.setprofile(None)
    return seen


def milliseconds(ask: Callable[[], object]) -> float:
    """Of the thread, for one cold answer: the best of nine."""
    taken = []
    for _ in range(9):
        forget()
        start = time.thread_time_ns()
        ask()
        taken.append(time.thread_time_ns() - start)
    return min(taken) / 1e6


def search(seconds: float) -> None:
    """Print the five costliest answers that turn up in that time."""
    dice, asked, found = random.Random(1), 0, dict[str, tuple[int, Callable[[], object]]]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (trigger := _trigger(dice)) is None:
            continue
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(130 * 365 * 86400))
        if dice.random() < 0.5:
            instant = timing.next_after(trigger, instant) or instant
        before = instant - timedelta(seconds=1)
        for question, ask in (
            ("next_after", lambda trigger=trigger, instant=instant: timing.next_after(trigger, instant)),
            ("last_until", lambda trigger=trigger, before=before: timing.last_until(trigger, before)),
        ):
            asked += 1
            name = f"{question} {instant:%Y-%m-%d %H:%M} {trigger.timezone} `{trigger.expression}` {trigger.day_match}"
            found[name] = calls(ask), ask
        found = dict(sorted(found.items(), key=lambda item: -item[1][0])[:5])
    print(f"\nthe costliest of {asked:,} cold answers")
    for name, (work, ask) in found.items():
        print(f"{milliseconds(ask):5.2f} ms {work:7,} calls  {name}")


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
    search(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)


if __name__ == "__main__":
    main()
