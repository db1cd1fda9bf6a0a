"""Asking workers over the broker, Celery's remote control: what each says, what it refuses, who doesn't answer.

Each question has a connection of its own, so that none waits for another's, nor for a pool's dead one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery

from taskd.errors import BrokerUnavailable
from taskd.worker.values import storable

CONNECT = 4  # seconds to reach the broker
MOST_BYTES = 256 * 1024  # of one worker's answer; a longer one is cut


@dataclass(frozen=True, slots=True)
class Replies:
    """By worker, what it said; `refused`: why it didn't do it. Values are JSON."""

    said: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> set[str]:
        """Who answered at all."""
        return {*self.said, *self.refused}


def ask(
    app: Celery,
    command: str,
    arguments: Mapping[str, Any],
    workers: Sequence[str] | None,
    patience: float,
) -> Replies:
    """The replies of `workers` (None: of all that hear it) that come within `patience` seconds of each other.

    Raises BrokerUnavailable.
    """
    said: dict[str, Any] = {}
    for answer in _broadcast(app, command, arguments, workers, patience):
        said |= answer
    refused = {name: str(value["error"]) for name, value in said.items() if _is(value, "error")}
    return Replies(
        {
            name: storable(value["ok"] if _is(value, "ok") else value, MOST_BYTES)
            for name, value in sorted(said.items())
            if name not in refused
        },
        refused,
    )


def tell(app: Celery, command: str, arguments: Mapping[str, Any], workers: Sequence[str] | None) -> None:
    """For commands that are never answered, as a shutdown; raises BrokerUnavailable."""
    _broadcast(app, command, arguments, workers, None)


def _broadcast(
    app: Celery,
    command: str,
    arguments: Mapping[str, Any],
    workers: Sequence[str] | None,
    patience: float | None,
) -> list[dict[str, Any]]:
    try:
        with app.connection_for_write(connect_timeout=CONNECT) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT)
            control: Any = app.control
            mailbox = control.mailbox(connection)
            mailbox.producer_pool = None
            found: list[dict[str, Any]] | None = mailbox._broadcast(  # noqa: SLF001  what Control.broadcast calls
                command,
                dict(arguments),
                destination=None if workers is None else list(workers),
                reply=patience is not None,
                timeout=patience or 1,
            )
    except Exception as error:  # every transport has its own
        raise BrokerUnavailable(f"no worker could be asked: {error}") from error
    return found or []


def _is(value: Any, key: str) -> bool:
    return isinstance(value, Mapping) and value.keys() == {key}
