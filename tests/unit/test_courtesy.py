"""A pass gives way to what fires, but not for ever."""

from collections.abc import Iterator
from itertools import count

import pytest

from taskd import courtesy
from taskd.courtesy import RightOfWay


def looks_until_given(free: Iterator[float], seconds: float) -> int:
    """How often it was asked whether anything fires."""
    asked = []

    def free_for() -> float:
        asked.append(1)
        return next(free)

    RightOfWay(free_for).give(seconds)
    return len(asked)


@pytest.mark.parametrize(
    ("free", "seconds", "looks"),
    [
        ([0.5], 0.0, 1),
        ([0.0, -0.1, 0.5], 0.0, 3),
        ([0.01, 0.0, 0.03], 0.02, 3),
        ([courtesy.PATIENCE], 60.0, 1),
    ],
    ids=["free", "at work", "not for long enough", "long work asks for less"],
)
def test_it_waits_until_there_is_room(
    free: list[float], seconds: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", 60.0 if seconds != 60.0 else courtesy.PATIENCE)
    assert looks_until_given(iter(free), seconds) == looks


def test_where_something_fires_all_the_time_it_goes_on_all_the_same() -> None:
    RightOfWay(lambda: 0.0).give()


def test_it_waits_no_longer_than_it_has_worked_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds, asked = count(), []
    monkeypatch.setattr(courtesy.clock, "monotonic", lambda: next(milliseconds) / 1000)
    way = RightOfWay(lambda: asked.append(1) or 0.0)
    way.give()
    at_first = len(asked)
    way.give()
    assert at_first > 10 * (len(asked) - at_first) > 0


def test_long_lists_are_gone_through_whole_giving_way_before_each_part() -> None:
    asked: list[int] = []

    def free_for() -> float:
        asked.append(1)
        return 60.0

    items = range(2 * courtesy.SOME + 1)
    assert list(RightOfWay(free_for).among(items)) == list(items)
    assert len(asked) == 3
    assert list(courtesy.nobody_fires().among([])) == []
