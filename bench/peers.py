"""The peers' herds: other schedulers for Celery, N schedules due at the same minute, until all stand in Redis.

Run by herd.py in a virtual environment of the peers' own:  python peers.py PEER N REDIS_URL PREFIX
Each is given its schedules in its own way and started a few seconds before a minute; it prints the seconds from that
minute to the last message.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis

PATIENCE = 180.0  # seconds after the minute

APP = """
from celery import Celery
from celery.schedules import crontab
app = Celery("peer", broker={url!r})
app.conf.update(timezone="UTC", broker_transport_options={{"global_keyprefix": {prefix!r}}}, beat_max_loop_interval=1,
    redbeat_redis_url={url!r}, redbeat_key_prefix={prefix!r} + "redbeat", redbeat_lock_key=None,
    beat_dburi="sqlite:///{home}/beat.db", task_ignore_result=True)
ENTRIES = {{f"s{{n}}": {{"task": "noop", "schedule": crontab(), "args": [n]}} for n in range({n})}}
"""
DJANGO = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", USE_TZ=True, TIME_ZONE="UTC", CELERY_TIMEZONE="UTC", DJANGO_CELERY_BEAT_TZ_AWARE=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"], DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{home}/django.db"}}}})
django.setup()
"""


def beat(scheduler: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "peerapp",
        "beat",
        "-S",
        scheduler,
        "-l",
        "ERROR",
        "--max-interval",
        "1",
    ]


def prepare(peer: str, home: Path, n: int, url: str, prefix: str) -> list[str]:
    """Write the peer's application, give it its schedules; the command that runs it."""
    text = APP.format(url=url, prefix=prefix, home=home, n=n)
    match peer:
        case "celery beat":
            text += "app.conf.beat_schedule = ENTRIES\n"
            command = [*beat("celery.beat:PersistentScheduler"), "-s", str(home / "beat")]
        case "redbeat":
            text += "if __name__ == '__main__':\n    from redbeat import RedBeatSchedulerEntry as E\n"
            text += "    for name, e in ENTRIES.items(): E(name, e['task'], e['schedule'], args=e['args'], app=app).save()\n"
            command = beat("redbeat.RedBeatScheduler")
        case "django-celery-beat":
            text = DJANGO.format(home=home) + text
            text += (
                "if __name__ == '__main__':\n    from django.core.management import call_command\n"
                "    call_command('migrate', verbosity=0)\n"
                "    from django_celery_beat.models import CrontabSchedule as C, PeriodicTask as P, PeriodicTasks\n"
                "    c = C.objects.create(timezone='UTC')\n"
                "    P.objects.bulk_create([P(name=k, task=e['task'], crontab=c, args=str(e['args'])) for k, e in ENTRIES.items()])\n"
                "    PeriodicTasks.update_changed()\n"
            )
            command = beat("django_celery_beat.schedulers:DatabaseScheduler")
        case "sqlalchemy-celery-beat":
            text += "app.conf.beat_schedule = ENTRIES\n"
            command = beat("sqlalchemy_celery_beat.schedulers:DatabaseScheduler")
        case "APScheduler 3":
            text += (
                "if __name__ == '__main__':\n    import sys\n    from apscheduler.schedulers.blocking import BlockingScheduler\n"
                "    from apscheduler.executors.pool import ThreadPoolExecutor\n"
                "    s = BlockingScheduler(timezone='UTC', executors={'default': ThreadPoolExecutor(10)},\n"
                "        job_defaults={'misfire_grace_time': 300, 'max_instances': 3})\n"
                "    for e in ENTRIES.values(): s.add_job(app.send_task, 'cron', minute='*', args=[e['task'], e['args']])\n"
                "    s.start()\n"
            )
            command = [sys.executable, "peerapp.py"]
        case _:
            raise SystemExit(f"no such peer: {peer}")
    (home / "peerapp.py").write_text(text)
    if peer in {"redbeat", "django-celery-beat"}:
        subprocess.run([sys.executable, "peerapp.py"], cwd=home, check=True)
    return command


def main() -> None:
    peer, n, url, prefix = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    redis = Redis.from_url(url)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = prepare(peer, home, n, url, prefix)
        start_up = 8 + n / 200  # what the slowest needs to load its entries
        minute = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        while (minute - datetime.now(UTC)).total_seconds() < start_up:
            minute += timedelta(minutes=1)
        time.sleep((minute - datetime.now(UTC)).total_seconds() - start_up)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=home, stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"}
            )
        key, due = f"{prefix}celery", minute.timestamp()
        time.sleep(max(0.0, due - 0.5 - time.time()))
        early = redis.llen(key)  # what it sent on its start isn't of this minute
        while (
            (there := redis.llen(key) - early) < n and time.time() < due + PATIENCE and process.poll() is None
        ):
            time.sleep(0.005)
        took = time.time() - due
        process.kill()
        process.wait()
        if there < n:
            print((home / "log").read_text()[-1500:], file=sys.stderr)
            raise SystemExit(f"{peer}: {there} of {n} after {took:.0f} s")
        print(f"{took:.3f}")


if __name__ == "__main__":
    main()
