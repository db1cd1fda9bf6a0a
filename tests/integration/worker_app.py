"""A Celery application as a user might have it; what its tasks did is in files."""

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

import taskd.broker  # noqa: F401 teaches kombu files://


def make_app(name: str, url: str, options: dict[str, Any]) -> Celery:
    """The application, on names of its own: `note` and `wait_at`, acknowledged late."""
    app = Celery(name, broker=url, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        control_exchange=f"{name}_control",
        event_exchange=f"{name}_events",
        task_default_queue=name,
        task_acks_late=True,
        worker_prefetch_multiplier=4,
    )

    @app.task(name="note", shared=False)
    def note(file: str, line: str) -> None:
        with Path(file).open("a") as opened:
            opened.write(f"{line}\n")

    @app.task(name="wait_at", shared=False)
    def wait_at(gate: str, file: str) -> None:
        note(file, "began")
        deadline = time.monotonic() + 60
        while not Path(gate).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        note(file, "ended")

    return app


if "WORKER" in os.environ:
    app = make_app(*json.loads(os.environ["WORKER"]))
