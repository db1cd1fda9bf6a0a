"""The fire times that a change of a schedule gains and loses in the 7 days to come.

What fires   the occurrences of an enabled declaration, inside its window, as many as its limit still lets through.
             An operator's pause isn't counted in: it is no part of what is declared
Cost         bounded, however often a schedule is due: each side is the bits of timing.marks_between, compared as such.
             Of a plan, the first MOST changes are looked at, whatever their number
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from taskd.reconcile.plan import Delete, Plan, Update
from taskd.schedule.policy import MOMENT, fires_left
from taskd.schedule.spec import timing_changed, uid_of
from taskd.schedule.timing import marks_between
from taskd.store.schedules import timetable_of

SPAN = timedelta(days=7)
MOST = 100  # changes that are looked at: a few milliseconds each, and more than anyone reads
LISTED = 5  # instants of each kind
_SECOND = timedelta(seconds=1)


class Side(NamedTuple):
    """A schedule before or after a change: declared columns, and the identity that H is hashed from.

    `counted`: how many fires the limit of its count has seen already.
    """

    columns: Mapping[str, Any]
    uid: UUID
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Fires:
    """How many fire times a change finds and leaves, how many of them come and go, and the first of those."""

    before: int
    after: int
    gained: int
    lost: int
    first_gained: tuple[datetime, ...]
    first_lost: tuple[datetime, ...]


class _Marks(NamedTuple):
    """Bit n is the fire in the n-th second after the span's first, `fraction` after that second begins."""

    bits: int = 0
    fraction: timedelta = timedelta(0)


def fires_of(plan: Plan, since: datetime, counted: Mapping[UUID, int]) -> dict[str, Fires | None]:
    """By name, what the first MOST changes do to fire times; what is held counts as if it were approved.

    In the order in which people want to know: of what fires today first, of what is new last. `counted`: how many
    fires the limits of those in the table have seen, see `limited`.
    """
    looked_at = islice(_sides(plan, counted), MOST)
    return {name: fires_changed(before, after, since) for name, before, after in looked_at}


def limited(plan: Plan) -> list[UUID]:
    """Those whose fires so far matter: of the changes that are looked at, the schedules with a limit."""
    rows = islice((change.row for change in _of_rows(plan)), MOST)
    return [row.uid for row in rows if row.columns["one_off"] or row.columns["max_run_count"]]


def _of_rows(plan: Plan) -> Iterator[Update | Delete]:
    return chain(plan.updates, plan.renames, plan.deletes, plan.held)


def _sides(plan: Plan, counted: Mapping[UUID, int]) -> Iterator[tuple[str, Side | None, Side | None]]:
    for change in _of_rows(plan):
        row = change.row
        before = Side(row.columns, row.uid, counted.get(row.uid, 0))
        yield row.name, before, _after(before, change) if isinstance(change, Update) else None
    for new in plan.creates:
        spec = new.declared.spec
        yield spec.name, None, Side(spec.columns(), uid_of(spec.name))


def _after(before: Side, change: Update) -> Side:
    """New timing begins to count anew."""
    columns = change.declared.spec.columns()
    anew = before.counted and timing_changed(before.columns, columns)
    return before._replace(columns=columns, counted=0 if anew else before.counted)


def fires_changed(before: Side | None, after: Side | None, since: datetime) -> Fires | None:
    """What changes in (since, since + SPAN]; None where nothing does."""
    was, will = _marks(before, since), _marks(after, since)
    kept = was.bits & will.bits if was.fraction == will.fraction else 0
    lost, gained = was._replace(bits=was.bits ^ kept), will._replace(bits=will.bits ^ kept)
    if not lost.bits and not gained.bits:
        return None
    return Fires(
        was.bits.bit_count(),
        will.bits.bit_count(),
        gained.bits.bit_count(),
        lost.bits.bit_count(),
        tuple(islice(_instants(gained, since), LISTED)),
        tuple(islice(_instants(lost, since), LISTED)),
    )


def _marks(side: Side | None, since: datetime) -> _Marks:
    if side is None or not side.columns["enabled"]:
        return _Marks()
    try:
        timetable = timetable_of({**side.columns, "uid": side.uid})
        due = timetable.between(since, since + SPAN)
    except (
        ValueError,
        TypeError,
        KeyError,
    ):  # a row that was changed by hand: what can't be read doesn't fire
        return _Marks()
    if due is None:
        return _Marks()
    after = due.first - MOMENT
    bits = marks_between(timetable.trigger, after, due.last) << (_whole(after) - _whole(since)) // _SECOND
    return _Marks(_limited(side, bits), due.first - _whole(due.first))


def _limited(side: Side, bits: int) -> int:
    """As many fires as the limit still lets through."""
    one_off, most = side.columns["one_off"], side.columns["max_run_count"]
    left = fires_left(one_off=one_off, max_run_count=most, counted=side.counted)
    return bits if left is None or left >= bits.bit_count() else _lowest(bits, left)


def _whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _lowest(bits: int, count: int) -> int:
    """Only the lowest `count` of the bits that are set, found by halving."""
    low, high = 0, bits.bit_length()
    while low < high:
        middle = (low + high) // 2
        enough = (bits & ((1 << middle) - 1)).bit_count() >= count
        low, high = (low, middle) if enough else (middle + 1, high)
    return bits & ((1 << low) - 1)


def _instants(marks: _Marks, since: datetime) -> Iterator[datetime]:
    bits, start = marks.bits, _whole(since).astimezone(UTC) + marks.fraction
    while bits:
        lowest = bits & -bits
        yield start + (lowest.bit_length() - 1) * _SECOND
        bits ^= lowest
