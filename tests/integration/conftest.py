"""Real brokers: one suite, each of them a parameter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskd.broker import broker_url
from tests.integration.brokers import Broker, StartPeer, peers


@pytest.fixture(params=["files", "redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each kind of broker, with nothing in it."""
    made: Broker = request.getfixturevalue(f"{request.param}_broker")
    yield made
    made.clean()


@pytest.fixture
def files_broker(tmp_path: Path) -> Broker:
    """The embedded broker in a folder that doesn't exist yet."""
    return Broker("files", broker_url(tmp_path / "state" / "broker"))


@pytest.fixture
def redis_broker(redis_url: str) -> Broker:
    """Redis, with a key prefix of its own."""
    made = Broker("redis", redis_url)
    made.options["global_keyprefix"] = f"{made.prefix}:"
    return made


@pytest.fixture
def rabbitmq_broker(rabbitmq_url: str) -> Broker:
    """RabbitMQ."""
    return Broker("rabbitmq", rabbitmq_url)


@pytest.fixture
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartPeer]:
    """Starts other processes at the test's broker."""
    name = "broker" if "broker" in request.fixturenames else "files_broker"
    with peers(request.getfixturevalue(name), tmp_path) as start:
        yield start
