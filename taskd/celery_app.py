"""Settings → the Celery application: taskd's own, or the one that `celery.app` names.

`celery -A taskd.celery_app …` finds `app`, made on first use from the settings that `load` finds.
"""

import os
import sys
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import click
from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd, symbol_by_name

import taskd.broker  # noqa: F401 - teaches kombu `files://`
from taskd.config import Settings, load
from taskd.config.urls import BrokerKind
from taskd.errors import ConfigError


def create_app(settings: Settings) -> Celery:
    """The Celery application that publishes and runs tasks; raises ConfigError where `celery.app` isn't one.

    The user's own application stays as it is: its broker, its serializers, its routes.
    """
    if settings.celery.app:
        app = imported_app(settings.celery.app, "celery.app: ")
    else:
        app = Celery("taskd", task_cls="taskd.worker.task:BaseTask")
        app.conf.update(_conf(settings))
    app.taskd_settings = settings  # type: ignore[attr-defined]  # its tasks and its recorder ask for them
    return app


def task_names(settings: Settings) -> frozenset[str]:
    """All tasks that a worker of the application would know; raises ConfigError where they can't be imported.

    It runs the user's modules: what they print goes to stderr, and what they raise is a sentence.
    """
    with redirect_stdout(sys.stderr):
        app = create_app(settings)
        try:
            app.loader.import_default_modules()
            return frozenset(app.tasks)
        except (Exception, SystemExit) as error:
            named = settings.celery.app or ", ".join(settings.celery.imports)
            key = "app" if settings.celery.app else "imports"
            sentence = f"celery.{key}: not all of {named} can be imported: {type(error).__name__}: {error}"
            raise ConfigError(sentence) from error


def _conf(settings: Settings) -> dict[str, Any]:
    celery = settings.celery
    extra = dict(celery.conf)
    options = _transport_options(settings) | (extra.pop("broker_transport_options", None) or {})
    return {
        "broker_url": settings.broker_url.get_secret_value(),
        "broker_transport_options": options,
        "broker_connection_timeout": 5,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a broker that is back after a weekend finds its workers
        "broker_heartbeat": 30,  # seconds; notices a RabbitMQ that vanished without a word
        "imports": celery.imports,
        "result_backend": celery.result_backend.get_secret_value()
        if celery.result_backend
        else "taskd.worker.recorder:RecordingBackend",
        "timezone": settings.timezone,
        "enable_utc": celery.enable_utc,
        "task_serializer": celery.task_serializer,
        "result_serializer": celery.result_serializer,
        "accept_content": list(celery.accept_content),
        "task_track_started": celery.task_track_started,
        "task_time_limit": celery.task_time_limit,
        "task_acks_late": True,  # a message stays with the broker until its run has ended …
        "task_reject_on_worker_lost": False,  # … but what killed a worker once isn't tried again by itself
        "worker_prefetch_multiplier": 1,  # nothing due waits behind a long task while another worker idles
    } | extra


def _transport_options(settings: Settings) -> dict[str, Any]:
    """What each broker needs so that no call waits for ever; seconds."""
    options: dict[BrokerKind, dict[str, Any]] = {
        "files": {},
        "redis": {
            "global_keyprefix": settings.broker.redis.prefix,
            # An unacknowledged message comes back after this; safe, since a run's claim refuses the second copy.
            "visibility_timeout": 300,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        "rabbitmq": {
            "confirm_publish": True,
            "connect_timeout": 5,
            "read_timeout": 10,  # also ends the wait for a confirmation
            "write_timeout": 10,
        },
    }
    return options[settings.broker_kind]


def imported_app(name: str, said_in: str = "") -> Celery:
    """The application that `name` names as `celery -A` does; raises ConfigError, which begins with `said_in`."""
    try:
        app = symbol_by_name(name, imp=import_from_cwd) if ":" in name else find_app(name)
    except (Exception, SystemExit) as error:  # importing it runs the user's code: anything may come out
        raise ConfigError(f"{said_in}{name!r} can't be imported: {type(error).__name__}: {error}") from error
    if not isinstance(app, Celery):
        raise ConfigError(f"{said_in}{name!r} is {type(app).__name__}, not a Celery application")
    return app


@cache
def _default_app() -> Celery:
    return create_app(load(None, os.environ))


def __getattr__(name: str) -> Celery:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return _default_app()
    except ConfigError as error:
        if click.get_current_context(silent=True) is None:
            raise
        # Celery's command line would print a traceback for any exception but this one.
        click.echo(f"taskd: {error}", err=True)
        raise SystemExit(2) from error
