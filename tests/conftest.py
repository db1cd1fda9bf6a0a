"""What every tier shares: the services, each found once for a test process."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from taskd.store import database
from tests import services

# A loaded machine is no finding.
database.IDLE = 60  # of this process; those that it starts have their own
settings.register_profile("taskd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("taskd")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with a database number; share it: prefix your keys with `services.own_name`, and delete them."""
    with services.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ, its virtual host mostly our own; name queues with `services.own_name`, and delete them."""
    with services.rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url
