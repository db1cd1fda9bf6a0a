"""An installation for each test: embedded (SQLite, files) unless the test asks for servers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from tests import services
from tests.acceptance.installations import Installation
from tests.services import SOON, OwnRedis

SERVERS = ["postgresql+redis", "mariadb+rabbitmq"]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """Made, migrated and empty; its processes end with the test. The parameter names a database and a broker."""
    with ExitStack() as stack:
        kind: str = getattr(request, "param", "embedded")
        settings = {} if kind == "embedded" else _on_servers(*kind.split("+"), request, stack)
        installation = Installation(tmp_path, **settings)
        stack.callback(installation.kill_all)
        yield installation


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    home = tmp_path / "redis"
    home.mkdir()
    server = OwnRedis(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_place(own_redis: OwnRedis, tmp_path: Path) -> Iterator[Installation]:
    folder = tmp_path / "place"
    folder.mkdir()
    soon = json.dumps({"broker_transport_options": SOON})
    place = Installation(folder, TASKD_BROKER__URL=own_redis.url, TASKD_CELERY__CONF=soon)
    yield place
    place.kill_all()


def _on_servers(
    database: str, broker: str, request: pytest.FixtureRequest, stack: ExitStack
) -> dict[str, str]:
    name = services.own_name("celery")
    url: str = request.getfixturevalue(f"{broker}_url")
    stack.callback(_forget, broker, url, name)
    return {
        "TASKD_DATABASE__URL": stack.enter_context(services.own_database(database)),
        "TASKD_BROKER__URL": url,
        "TASKD_BROKER__REDIS__PREFIX": f"{name}:",
        "TASKD_CELERY__CONF": json.dumps(
            {"task_default_queue": name, "broker_transport_options": SOON if broker == "redis" else {}}
        ),
    }


def _forget(broker: str, url: str, name: str) -> None:
    if broker == "redis":
        with Redis.from_url(url) as client:
            for key in client.scan_iter(f"{name}:*"):
                client.delete(key)
