"""`…/{pk}/next`: when it is due, or would be."""

from datetime import UTC, datetime

import pytest

from taskd import clock
from taskd.schedule.duration import span_shown
from taskd.schedule.spec import ScheduleSpec
from taskd.store import schedules
from tests.unit.http.conftest import SCHEDULERS, Api


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noon of 1 January 2026."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 1, 12, tzinfo=UTC))


def due(api: Api, name: str, query: str = "") -> list[str]:
    return [each["scheduled_for"][8:16] for each in api.get(f"{SCHEDULERS}/{name}/next{query}")["items"]]


def test_a_hashed_value_is_shown_as_what_it_became(api: Api) -> None:
    api.add("nightly", crontab="H H(0-5) * * *")
    told = api.get(f"{SCHEDULERS}/nightly/next?n=1")
    spec = ScheduleSpec.read({"name": "nightly", "task": "t", "crontab": "H H(0-5) * * *"}, "UTC")
    assert told["crontab"] == spec.trigger.expression
    minute, hour, *_ = told["crontab"].split()
    assert told["items"][0]["scheduled_for"] == f"2026-01-02T{int(hour):02}:{int(minute):02}:00+00:00"
    assert api.get(f"{SCHEDULERS}/nightly")["next"] == api.get(f"{SCHEDULERS}/nightly/next")["items"]


def test_an_interval_has_no_crontab(api: Api) -> None:
    api.add("steady", interval="6h")
    assert api.get(f"{SCHEDULERS}/steady/next")["crontab"] is None
    assert due(api, "steady", "?n=2") == ["01T18:00", "02T00:00"]


def test_a_delay_is_noted_and_what_waits_for_it_is_still_to_come(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.add("spread", crontab="0 * * * *", jitter="50m")
    row = api.read(lambda session: schedules.find(session, "spread"))
    timetable = schedules.timetable_of(schedules.declared(row) | {"uid": row.uid})
    one = datetime(2026, 1, 1, 13, tzinfo=UTC)
    delay = timetable.due(one) - one
    monkeypatch.setattr(clock, "now", lambda: one + delay / 2)
    told = api.get(f"{SCHEDULERS}/spread/next?n=1")["items"][0]
    assert told["scheduled_for"] == one.isoformat()
    assert told["note"] == f"jitter delays it by {span_shown(delay)}"
    told = api.get(f"{SCHEDULERS}/spread/why?at=2026-01-01T13:00")
    shown = (one + delay).isoformat(" ", "seconds")
    assert (told["decision"], told["words"]) == ("not_yet_due", f"it will fire at {shown}")
    monkeypatch.setattr(clock, "now", lambda: one + delay)
    assert due(api, "spread", "?n=1") == ["01T14:00"]


def test_what_a_limit_leaves_is_counted_from_now(api: Api) -> None:
    api.add("thrice", crontab="0 * * * *", max_run_count=3)
    assert due(api, "thrice") == ["01T13:00", "01T14:00", "01T15:00"]
    assert due(api, "thrice", "?from=2026-01-01T13:30:00Z") == ["01T14:00", "01T15:00"]
    assert due(api, "thrice", "?from=2026-01-02T00:00:00Z") == []


def test_what_will_not_fire_says_so(api: Api) -> None:
    api.add("active")
    told = api.get(f"{SCHEDULERS}/active/next?n=1")
    assert (told["fires"], told["message"]) == (True, None)
    api.ask("POST", f"{SCHEDULERS}/active/pause", {"reason": "migration"})
    told = api.get(f"{SCHEDULERS}/active/next?n=1")
    assert (told["fires"], told["message"], len(told["items"])) == (False, "active is paused: migration", 1)
    api.add("off", enabled=False)
    told = api.get(f"{SCHEDULERS}/off/next?n=1")
    assert (told["fires"], told["message"], len(told["items"])) == (False, "off is disabled", 1)


def test_a_pause_that_ends_by_itself_says_when_and_shows_what_fires_then(api: Api) -> None:
    pk = api.add("freezing", crontab="0 * * * *")
    until = datetime(2026, 1, 3, 9, tzinfo=UTC)
    api.change(pk, paused_at=until, paused_until=until, paused_reason="freeze", state="paused")
    told = api.get(f"{SCHEDULERS}/freezing/next?n=1")
    assert (told["fires"], told["message"]) == (True, f"freezing is paused until {until.isoformat()}: freeze")
    assert due(api, "freezing", "?n=1") == ["03T10:00"]


def test_what_has_completed_has_no_next(api: Api) -> None:
    pk = api.add("once", one_off=True)
    api.change(pk, total_run_count=1, state="completed", state_detail="it has run as often as it may")
    told = api.get(f"{SCHEDULERS}/once/next")
    assert (told["items"], told["fires"]) == ([], False)
    assert told["message"] == "once has completed: it has run as often as it may"


@pytest.mark.parametrize("query", ["n=0", "n=1001", "n=x", "from=2026-01-01T00:00:00", "count=1"])
def test_limits_of_the_question(api: Api, query: str) -> None:
    api.add("daily")
    assert api.ask("GET", f"{SCHEDULERS}/daily/next?{query}").status == 422


def test_why_needs_a_time(api: Api) -> None:
    api.add("daily")
    assert api.ask("GET", f"{SCHEDULERS}/daily/why").status == 422


def test_an_unencoded_plus_in_a_time_asked_about_is_understood(api: Api) -> None:
    api.add("daily", crontab="0 0 * * *")
    told = api.get(f"{SCHEDULERS}/daily/why?at=2026-01-02T08:00+08:00")
    assert told["occurrence"]["scheduled_for"] == "2026-01-02T00:00:00+00:00"
