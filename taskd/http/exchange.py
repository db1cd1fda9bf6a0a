"""What goes in and out of a handler, as values: no server takes part, so the command line asks the same way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Literal
from unicodedata import normalize

from celery import Celery

from taskd.config import Settings
from taskd.errors import NotFound
from taskd.reconcile.reconciler import Consent
from taskd.store.database import Database
from taskd.store.stream import Position

Check = Callable[[], str | None]
"""None when all is well, else the reason why it isn't, in one sentence."""

_LARGEST_ID = 2**63 - 1
_LONGEST_ID = len(str(_LARGEST_ID))  # int() refuses texts of thousands of digits


@dataclass(frozen=True, slots=True)
class Part:
    """What this process does about a lease: `leader`, `standby` or `none`; seconds since it saw the lease move."""

    role: Literal["leader", "standby", "none"]
    lease_age: float | None


def _no_parts() -> Mapping[str, Part]:
    """A process that wants no lease."""
    return {}


def _right() -> str | None:
    """A process that leads nothing needs no clock."""
    return None


Observe = Callable[[str, str, int, float], None]


def _unobserved(_method: str, _route: str, _status: int, _seconds: float) -> None:
    """Nobody counts requests."""


def _nobody() -> None:
    """Wakes nobody: a process without a dispatcher; the leader sees the change within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the handlers work with.

    `wake` is called after each commit that the dispatcher should see. `alive` is asked on the event loop and must
    not block; `ready` may, each within seconds. `plan` and `sync` answer in the shape of `/sync/plan`; they are
    None in a process that doesn't reconcile. `sync` makes one pass, with what an operator allows in it, and returns
    when it is over. `parts`, by lease; `clock_is_wrong`: why this process doesn't lead, if it is for that.
    """

    settings: Settings
    database: Database
    app: Celery
    wake: Callable[[], None] = _nobody
    alive: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)
    plan: Callable[[], Mapping[str, Any]] | None = None
    sync: Callable[[Consent | None], Mapping[str, Any]] | None = None
    parts: Callable[[], Mapping[str, Part]] = _no_parts
    clock_is_wrong: Check = _right
    metrics: Callable[[], bytes] | None = None
    observe: Observe = _unobserved

    @property
    def secret_keys(self) -> frozenset[str]:
        """What marks a key as secret, for `redact`."""
        return frozenset(key.lower() for key in self.settings.redact.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: `path` as it was sent, `params` and `query` decoded, `body` parsed, `headers` by lower-case name."""

    method: str
    path: str
    now: datetime
    actor: str
    params: Mapping[str, str] = field(default_factory=dict)
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def pk(self) -> str:
        """The id, name or task_id in the path, as `key` gives it."""
        return self.key(self.params["pk"])

    @staticmethod
    def key(given: str) -> str:
        """An id, name or task_id; names are NFC. Raises NotFound for an id that no database holds."""
        pk = normalize("NFC", given)
        if pk.isdecimal() and (len(pk) > _LONGEST_ID or int(pk) > _LARGEST_ID):
            raise NotFound(f"there is nothing with the id {pk}")
        return pk


@dataclass(frozen=True, slots=True)
class Parts:
    """A JSON array that is read as it is sent: each of `lists` has the next items, from a transaction of its own."""

    lists: Iterable[list[Any]]


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that isn't JSON; the answer's Content-Type says what it is."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Live:
    """The live stream, from now on or from a position that it was heard up to."""

    since: Position | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body that is JSON, Parts of it, Raw or Live; errors are RFC 9457 problems."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def whole(self) -> Any:
        """The body as one JSON value."""
        return list(chain.from_iterable(self.body.lists)) if isinstance(self.body, Parts) else self.body
