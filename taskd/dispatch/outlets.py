"""Which way out a broker has."""

from celery import Celery

from taskd.dispatch.amqp_outlet import AmqpOutlet
from taskd.dispatch.outlet import Outlet, Singly
from taskd.dispatch.redis_outlet import RedisOutlet

_TIMEOUTS = {"socket_timeout": 10, "socket_connect_timeout": 5}  # seconds, where the application says nothing
_RETRIES = ("retry_on_timeout", "retry_on_error", "retry")


def open_outlet(app: Celery) -> Outlet:
    """A way to the application's broker, over a connection of its own. Raises what the transport raises."""
    connection = app.connection_for_write()
    options = dict(connection.transport_options or {})
    match connection.transport.driver_type:
        case "redis":
            # A pipeline that redis-py repeated by itself would count as sent once.
            kept = {key: value for key, value in options.items() if key not in _RETRIES}
            connection.transport_options = _TIMEOUTS | kept
            return RedisOutlet(app, connection)
        case "amqp":
            # Whatever the application says: without it a message that RabbitMQ never got would count as sent.
            confirming = app.connection_for_write()
            confirming.transport_options = {**options, "confirm_publish": True}
            return AmqpOutlet(app, connection, confirming)
    return Singly(app, connection)
