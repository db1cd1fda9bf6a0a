"""`config`: the settings in effect, and where each comes from."""

from pathlib import Path

import pytest

from taskd.config import Settings
from taskd.config.given import dotted
from taskd.config.mistakes import keys_of
from tests.unit.conftest import Workplace


def test_every_key_is_there_and_nothing_else_comes_from_nowhere(place: Workplace) -> None:
    shown = place.json("config")
    assert [each["key"] for each in shown] == [dotted(at) for at in keys_of(Settings)]
    assert {each["origin"] for each in shown} == {"default"}


def test_each_value_names_its_source(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taskd.yaml").write_text("timezone: Europe/Berlin\nlease:\n  ttl: 5m\nbroker: {redis: {port: 1}}\n")
    Path(".env").write_text("REDIS_HOST=cache\n")
    monkeypatch.setenv("TASKD_BROKER__REDIS__PORT", "2")
    found = {each["key"]: (each["value"], each["origin"]) for each in place.json("config", "--changed")}
    assert found == {
        "timezone": ("Europe/Berlin", "taskd.yaml:1:1"),
        "lease.ttl": ("5m", "taskd.yaml:3:3"),
        "broker.redis.host": ("cache", f"{place.folder}/.env: REDIS_HOST"),
        "broker.redis.port": (2, "TASKD_BROKER__REDIS__PORT"),
    }


def test_secrets_are_masked_wherever_they_stand(place: Workplace) -> None:
    Path("taskd.yaml").write_text(
        "database: {url: 'postgresql://me:hunter2@db/taskd'}\n"
        "broker: {redis: {password: hunter2}, rabbitmq: {password: hunter2}}\n"
        "celery: {conf: {broker_transport_options: {sentinel_kwargs: {password: hunter2}},\n"
        "  cache_backend: 'memcached://me:hunter2@host', result_backend_transport_options: {a: ['x://u:hunter2@h']}}}\n"
    )
    assert "hunter2" not in place.taskd("config").output
    shown = {each["key"]: each["value"] for each in place.json("config")}
    assert "hunter2" not in str(shown)
    assert shown["database.url"] == "postgresql://me:**@db/taskd"


def test_it_says_what_null_comes_to(place: Workplace) -> None:
    shown = {each["key"]: each["means"] for each in place.json("config")}
    assert shown["broker.kind"] == "files"
    assert shown["database.url"] == f"sqlite:///{place.folder}/.taskd/taskd.db"
    assert f"null (sqlite:///{place.folder}" in place.taskd("config", "database").stdout


def test_values_are_shown_as_one_writes_them(place: Workplace) -> None:
    shown = {each["key"]: each["value"] for each in place.json("config")}
    assert shown["celery.task_time_limit"] == "30m"
    assert shown["results.max_result_bytes"] == "64KiB"


def test_forever_is_shown_as_it_is_written(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKD_EVENTS__KEEP", "forever")
    assert place.json("config", "events.keep")[0]["value"] == "forever"


def test_a_section_or_a_key_may_be_asked_for(place: Workplace) -> None:
    assert [each["key"] for each in place.json("config", "lease")] == ["lease.ttl"]
    assert place.complaint("config", "leese").endswith(
        "there is no setting 'leese': `taskd config` lists all"
    )


def test_all_at_the_default_is_said(place: Workplace) -> None:
    assert place.taskd("config", "--changed").stderr == "everything is at its default\n"
