"""The application of recording.py: one task that does nothing, and a way to record it.

Also run by the peers' Python, which has no taskd: BENCH_KIND says who records, BENCH_DATABASE where.
"""

import os
from urllib.parse import urlsplit

from celery import Celery

KIND, DATABASE = os.environ["BENCH_KIND"], os.environ.get("BENCH_DATABASE", "")


def django() -> None:
    """Settings, and tables where there are none."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    url = urlsplit(DATABASE)
    parts = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.path[1:]}
    if url.scheme.startswith("postgresql"):
        parts = {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "HOST": url.hostname}
        parts |= {"PORT": url.port, "USER": url.username, "PASSWORD": url.password or ""}
    settings.configure(
        SECRET_KEY="x",
        USE_TZ=True,
        DATABASES={"default": {**parts, "CONN_MAX_AGE": None}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_results"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    if os.environ.get("BENCH_MIGRATE"):
        call_command("migrate", verbosity=0)


how: dict[str, object] = {}
if KIND == "celery":
    how = {"backend": f"db+{DATABASE}"}
elif KIND == "django":
    django()
    how = {"backend": "django-db"}
elif KIND.startswith("taskd"):
    how = {"backend": "taskd.worker.recorder:RecordingBackend", "task_cls": "taskd:BaseTask"}

app = Celery("recorded", broker=os.environ["BENCH_BROKER"], **how)
app.conf.update(
    broker_transport_options={"global_keyprefix": os.environ["BENCH_PREFIX"]},
    task_acks_late=True,  # so that a message leaves Redis once its run has ended and is recorded
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
)


@app.task(name="noop")
def noop() -> None:
    """Nothing."""
