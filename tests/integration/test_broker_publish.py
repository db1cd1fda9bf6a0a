"""The publisher at a real RabbitMQ: what counts as sent has been confirmed."""

from pathlib import Path

from celery import Celery

from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.store.database import Database


def test_an_application_that_does_not_ask_for_confirmations_gets_them_all_the_same(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    app = Celery("test", broker=rabbitmq_url, set_as_current=False)
    database = Database(f"sqlite:///{tmp_path}/taskd.db")
    publisher = Publisher(database, app, Leadership(database, "dispatch", "me", 10.0))
    try:
        assert publisher._open().channel.connection.confirm_publish
    finally:
        publisher.close()
        database.close()
