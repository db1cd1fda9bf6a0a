"""The Celery application that the settings make."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kombu
import pytest
from celery import Celery

import taskd.broker
from taskd import celery_app
from taskd.celery_app import create_app
from taskd.config import Settings
from taskd.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_app_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A current directory of one's own; neither an app nor a module of this test outlives it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("taskd.config.loading._SYSTEM_FILE", tmp_path / "etc.yaml")
    before = set(sys.modules)
    celery_app._default_app.cache_clear()
    yield
    celery_app._default_app.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("users_"):
            del sys.modules[name]


def options(**broker: Any) -> dict[str, Any]:
    found: dict[str, Any] = create_app(Settings(broker=broker)).conf.broker_transport_options
    return found


def test_the_conf_is_the_seeds() -> None:
    conf = create_app(Settings()).conf
    assert {key: conf[key] for key in SEED} == SEED


SEED = {
    "timezone": "Asia/Shanghai",
    "enable_utc": False,
    "task_serializer": "msgpack",
    "result_serializer": "msgpack",
    "accept_content": ["msgpack", "json"],
    "task_track_started": True,
    "task_time_limit": 30 * 60,
}


def test_a_message_survives_its_worker_and_is_not_hoarded() -> None:
    conf = create_app(Settings()).conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (
        True,
        False,
        1,
    )
    assert conf.task_default_delivery_mode == 2


def test_a_published_task_is_msgpack_on_a_durable_queue() -> None:
    app = create_app(Settings())
    with kombu.Connection("memory://") as connection, connection.channel() as channel:
        app.send_task("tasks.report", args=["Müller"], connection=connection)
        (queue,) = app.amqp.queues.values()
        message = queue(channel).get(accept=["msgpack"])
    assert queue.durable
    assert message.content_type == "application/x-msgpack"
    assert message.payload[0] == ["Müller"]
    assert message.headers["task"] == "tasks.report"


def test_settings_reach_the_app() -> None:
    settings = Settings(
        timezone="Europe/Berlin",
        celery={
            "imports": ["a", "b"],
            "result_backend": "cache+memory://",
            "task_serializer": "json",
            "result_serializer": "json",
            "accept_content": ["json"],
            "enable_utc": True,
            "task_track_started": False,
            "task_time_limit": 60,
            "conf": {"worker_concurrency": 3, "worker_prefetch_multiplier": 4},
        },
    )
    conf = create_app(settings).conf
    assert (conf.timezone, conf.enable_utc, conf.task_track_started) == ("Europe/Berlin", True, False)
    assert (tuple(conf.imports), conf.result_backend, conf.task_time_limit) == (
        ("a", "b"),
        "cache+memory://",
        60,
    )
    assert (conf.task_serializer, conf.result_serializer, conf.accept_content) == ("json", "json", ["json"])
    assert (conf.worker_concurrency, conf.worker_prefetch_multiplier) == (3, 4)


def test_the_app_carries_its_settings_for_its_tasks() -> None:
    settings = Settings(celery={"task_max_retries": 9})
    assert create_app(settings).taskd_settings is settings  # type: ignore[attr-defined]


def test_without_a_result_backend_results_are_read_from_the_table() -> None:
    assert type(create_app(Settings()).backend).__name__ == "RecordingBackend"


def test_the_embedded_broker_is_the_default() -> None:
    app = create_app(Settings())
    assert app.conf.broker_url == taskd.broker.broker_url(Path(".taskd/broker"))
    assert app.connection_for_write().transport_cls == "files"
    assert app.conf.broker_transport_options == {}


def test_redis_calls_end_and_keys_have_their_prefix() -> None:
    found = options(kind="redis", redis={"prefix": "fba:celery"})
    assert found["global_keyprefix"] == "fba:celery"
    assert found["visibility_timeout"] == 300
    assert all(
        found[key] > 0 for key in ("socket_timeout", "socket_connect_timeout", "health_check_interval")
    )


def test_rabbitmq_confirms_and_its_calls_end() -> None:
    found = options(url="amqp://h//")
    assert found["confirm_publish"] is True
    assert all(found[key] > 0 for key in ("connect_timeout", "read_timeout", "write_timeout"))


def test_transport_options_of_ones_own_join_taskds() -> None:
    settings = Settings(
        broker={"kind": "redis"},
        celery={"conf": {"broker_transport_options": {"visibility_timeout": 60, "x": 1}}},
    )
    found = create_app(settings).conf.broker_transport_options
    assert (found["visibility_timeout"], found["x"], found["global_keyprefix"]) == (60, 1, "taskd:celery")


# An application of the user's own


def write_app(text: str) -> None:
    Path("users_project.py").write_text(f"from celery import Celery\n{text}\n")


@pytest.mark.parametrize("name", ["users_project:app", "users_project"])
def test_the_users_app_stays_as_it_is(name: str) -> None:
    write_app("app = Celery('theirs', broker='redis://theirs', set_as_current=False)")
    app = create_app(Settings(celery={"app": name}))
    assert (app.main, app.conf.broker_url, app.conf.task_serializer) == ("theirs", "redis://theirs", "json")


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "users_nowhere:app", "ModuleNotFoundError: No module named 'users_nowhere'"),
        ("", "users_project:app", "AttributeError: module 'users_project' has no attribute 'app'"),
        ("raise KeyError('DJANGO')", "users_project:app", "KeyError: 'DJANGO'"),
        ("app = 3", "users_project:app", "is int, not a Celery application"),
    ],
)
def test_what_is_no_app_is_told_in_a_sentence(text: str, name: str, reason: str) -> None:
    write_app(text)
    with pytest.raises(ConfigError, match=f"^celery.app: '{name}' ") as caught:
        create_app(Settings(celery={"app": name}))
    assert str(caught.value).endswith(reason)


# `celery -A taskd.celery_app`


def test_celery_finds_the_app_and_makes_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKD_TIMEZONE", "Asia/Tokyo")
    found = celery_app.find_app("taskd.celery_app")
    assert isinstance(found, Celery)
    assert found.conf.timezone == "Asia/Tokyo"
    assert celery_app.app is found


def test_other_names_are_not_there() -> None:
    assert not hasattr(celery_app, "celery")


def test_celerys_command_line_gets_a_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKD_TIMEZONE", "Mars/Base")
    with click.Context(click.Command("celery")), pytest.raises(SystemExit) as caught:
        celery_app.find_app("taskd.celery_app")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(
        "taskd: TASKD_TIMEZONE: timezone: unknown time zone 'Mars/Base'"
    )


def test_a_program_that_imports_the_app_gets_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKD_TIMEZONE", "Mars/Base")
    with pytest.raises(ConfigError, match="unknown time zone"):
        _ = celery_app.app
