"""`import redbeat`, from what the package itself wrote into Redis."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule
from click.testing import CliRunner
from redis import Redis

from taskd.cli import main
from tests.importing import coming, coming_in_celery, specs_of
from tests.services import own_name

LAST = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def old(redis_url: str) -> Iterator[Celery]:
    """An application with redbeat under a prefix of its own."""
    app = Celery("old", broker="memory://", set_as_current=False)
    prefix = f"{own_name('redbeat')}:"
    app.conf.update(
        timezone="Asia/Kolkata",
        redbeat_redis_url=redis_url,
        redbeat_key_prefix=prefix,
        redbeat_redis_options={},
        redbeat_lock_key=None,
    )
    yield app
    with Redis.from_url(redis_url) as redis:
        if keys := list(redis.scan_iter(match=f"{prefix}*")):
            redis.delete(*keys)


def saved(app: Celery, name: str, when: Any, **fields: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from redbeat import RedBeatSchedulerEntry
    entry = RedBeatSchedulerEntry(name, "t", when, app=app, **fields)
    entry.last_run_at = LAST
    entry.save()


def imported(app: Celery) -> str:
    words = ["import", "redbeat", app.conf.redbeat_redis_url, "--prefix", app.conf.redbeat_key_prefix]
    result = CliRunner().invoke(main, [*words, "--tz", str(app.conf.timezone)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_redbeats_schedules_keep_their_times(old: Celery) -> None:
    originals = {
        "crontab": crontab(minute="*/20", hour="6-20", day_of_week="mon-fri", app=old),
        "days": crontab(minute=0, hour=4, day_of_month="1-7", day_of_week=1, app=old),
        "interval": schedule(timedelta(minutes=7), app=old),
        "relative": schedule(timedelta(hours=6), relative=True, app=old),
    }
    for name, original in originals.items():
        saved(old, name, original, args=[1], options={"queue": "q"})
    saved(old, "disabled", schedule(60, app=old), enabled=False)
    found = specs_of(imported(old))
    assert set(found) == {*originals, "disabled"}
    for name, original in originals.items():
        assert coming(found[name], LAST) == coming_in_celery(original, LAST), name
    assert (found["crontab"].queue, found["crontab"].args) == ("q", [1])
    assert not found["disabled"].enabled


def test_a_recurrence_rule_stands_as_a_comment(old: Celery) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from redbeat.schedules import rrule
    saved(old, "rule", rrule("HOURLY", dtstart=LAST, app=old))
    saved(old, "x", schedule(60, app=old))
    text = imported(old)
    assert set(specs_of(text)) == {"x"}
    assert "not carried over: a recurrence rule has no counterpart here" in text


def test_a_prefix_with_nothing_under_it_is_told(redis_url: str) -> None:
    result = CliRunner().invoke(main, ["import", "redbeat", redis_url, "--prefix", "nobody:"])
    assert result.exit_code == 2
    assert "has nothing of redbeat under 'nobody:'" in result.stderr
