"""Beat's scheduler tells the truth: it ticks while the engine's heart beats, and opens nothing before."""

from collections.abc import Callable

import pytest
from celery import Celery

from taskd.dispatch import beat
from taskd.dispatch.beat import LONGEST_TICK, STALLED, TaskdScheduler


class Heart:
    """An engine, as far as a tick asks it."""

    def __init__(self, age: float, *, alive: bool = True) -> None:
        self._age, self._alive = age, alive
        self.stopped = 0

    def alive(self) -> bool:
        return self._alive

    def heart_age(self) -> float:
        return self._age

    def stop(self) -> bool:
        self.stopped += 1
        return True


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Callable[[Heart], TaskdScheduler]:
    """One over that engine; nothing may be opened."""
    monkeypatch.setattr(beat, "Database", None)

    def over(heart: Heart) -> TaskdScheduler:
        made = TaskdScheduler(Celery("test", set_as_current=False), lazy=True)
        made._engine = heart  # type: ignore[assignment]  # it asks no more of it
        return made

    return over


def test_a_tick_returns_within_a_second_while_the_heart_beats(
    scheduler: Callable[[Heart], TaskdScheduler],
) -> None:
    assert scheduler(Heart(0.5)).tick() == LONGEST_TICK <= 1


@pytest.mark.parametrize("heart", [Heart(STALLED + 1), Heart(0, alive=False)], ids=["stalled", "ended"])
def test_a_tick_raises_when_the_heart_stops(
    scheduler: Callable[[Heart], TaskdScheduler], heart: Heart
) -> None:
    with pytest.raises(RuntimeError, match="has stopped"):
        scheduler(heart).tick()


def test_a_signal_inside_close_closes_again(
    scheduler: Callable[[Heart], TaskdScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    heart = Heart(0)
    made = scheduler(heart)
    first_stop = heart.stop

    def interrupted() -> bool:
        monkeypatch.setattr(heart, "stop", first_stop)
        made.close()  # what Beat's handler does
        raise SystemExit

    monkeypatch.setattr(heart, "stop", interrupted)
    with pytest.raises(SystemExit):
        made.close()
    assert heart.stopped == 1
    made.close()
    assert heart.stopped == 1
