"""Makes django-celery-beat.sql and django-celery-beat.json beside this file, by the real package.

    uv venv /tmp/django && uv pip install --python /tmp/django/bin/python django-celery-beat
    /tmp/django/bin/python tests/data/imports/make_django.py

It can't be installed beside taskd: it wants cron-descriptor below 2. The SQL is its tables with tasks of every kind;
the JSON says when its own schedules come, 100 times each, asked as Beat asks them.
"""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django
from celery import Celery
from django.conf import settings
from django.core.management import call_command

HERE = Path(__file__).parent
DATABASE = Path("/tmp/django-celery-beat.sqlite3")
NOW = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


def main() -> None:
    DATABASE.unlink(missing_ok=True)
    settings.configure(
        INSTALLED_APPS=["django_celery_beat"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATABASE)}},
        USE_TZ=True,
        TIME_ZONE="UTC",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    call_command("migrate", verbosity=0)
    app = Celery("old", set_as_current=True)
    app.conf.timezone = "UTC"
    fires = declare()
    tables = ("django_celery_beat_",)
    with sqlite3.connect(DATABASE) as connection:
        lines = [
            line
            for line in connection.iterdump()
            if any(f'"{name}' in line for name in tables) and "INDEX" not in line
        ]
    (HERE / "django-celery-beat.sql").write_text("\n".join(lines) + "\n")
    (HERE / "django-celery-beat.json").write_text(json.dumps(fires, indent=1) + "\n")


def declare() -> dict[str, list[str]]:
    from django_celery_beat.models import (
        ClockedSchedule,
        CrontabSchedule,
        IntervalSchedule,
        PeriodicTask,
        SolarSchedule,
    )

    def crontab(expression: str, timezone: str) -> CrontabSchedule:
        minute, hour, date, month, weekday = expression.split()
        return CrontabSchedule.objects.create(
            minute=minute,
            hour=hour,
            day_of_month=date,
            month_of_year=month,
            day_of_week=weekday,
            timezone=timezone,
        )

    def task(name: str, **fields: object) -> None:
        PeriodicTask.objects.create(name=name, task=f"t.{name}", **{"last_run_at": NOW, **fields})

    for number, (expression, timezone) in enumerate(
        [
            ("*/15 * * * *", "UTC"),
            ("0 9 * * mon-fri", "Asia/Shanghai"),
            ("30 4 1,15 * *", "Asia/Kolkata"),
            ("0 0 1-7 * 1", "Asia/Shanghai"),
            ("5,35 */2 * 1-6 sat,sun", "America/Phoenix"),
            ("0 3 * * *", "Europe/Berlin"),
        ]
    ):
        task(f"crontab{number}", crontab=crontab(expression, timezone))
    for every, period in ((10, "seconds"), (7, "minutes"), (1, "hours"), (3, "days")):
        interval = IntervalSchedule.objects.create(every=every, period=period)
        task(f"every {every} {period}", interval=interval, last_run_at=NOW - timedelta(seconds=3))
    ten = IntervalSchedule.objects.get(every=10, period="seconds")
    task(
        "everything",
        interval=ten,
        args='[1, "two"]',
        kwargs='{"three": null}',
        queue="reports",
        exchange="ex",
        routing_key="rk",
        headers='{"h": "1"}',
        priority=5,
        expire_seconds=60,
        description="All of it",
        start_time=NOW + timedelta(hours=1),
        last_run_at=None,
    )
    task("until", interval=ten, expires=NOW + timedelta(days=1))
    task("disabled", interval=ten, enabled=False)
    task("done/once", interval=ten, one_off=True, total_run_count=1)
    task("once", interval=ten, one_off=True)
    task("at", clocked=ClockedSchedule.objects.create(clocked_time=NOW + timedelta(days=9)), one_off=True)
    task("sun", solar=SolarSchedule.objects.create(event="sunset", latitude=1, longitude=2))
    half = IntervalSchedule.objects.create(every=500_000, period="microseconds")
    task("too fast", interval=half)
    return {
        each.name: coming(each.schedule, each.last_run_at)
        for each in PeriodicTask.objects.filter(name__regex="^(crontab|every )")
    }


def coming(schedule: object, last: datetime) -> list[str]:
    """The next 100 times, each asked for at the one before: what Beat does."""
    found = []
    for _ in range(100):
        tz = schedule.tz
        schedule.nowfun = lambda last=last, tz=tz: last.astimezone(tz)
        last += schedule.remaining_estimate(last.astimezone(tz))
        found.append(last.astimezone(UTC).isoformat())
    return found


if __name__ == "__main__":
    main()
