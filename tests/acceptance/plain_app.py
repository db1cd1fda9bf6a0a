"""A Celery application that knows nothing of taskd but its `TzCrontab`: `celery -A tests.acceptance.plain_app`."""

import os
from datetime import timedelta

from celery import Celery
from celery.beat import ScheduleEntry

import taskd.broker  # noqa: F401 teaches kombu files://
from taskd import TzCrontab, clock

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.beat_schedule = {
    "berlin": ScheduleEntry(
        name="berlin",
        task="t.effect",
        schedule=TzCrontab("*", timezone="Europe/Berlin"),
        last_run_at=clock.now() - timedelta(minutes=2),  # so that it is due when Beat starts
        app=app,
    )
}
