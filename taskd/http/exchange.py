"""What goes in and out of a handler, as values: no server takes part, so the command line asks the same way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unicodedata import normalize

from celery import Celery

from taskd.config import Settings
from taskd.errors import NotFound
from taskd.store.database import Database

Check = Callable[[], str | None]
"""None when all is well, else the reason why it isn't, in one sentence."""

_LARGEST_ID = 2**63 - 1


def _nobody() -> None:
    """Wakes nobody: a process without a dispatcher; the leader sees the change within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the handlers work with.

    `wake` is called after each commit that the dispatcher should see. `alive` is asked on the event loop and must
    not block; `ready` may, each within seconds. `plan` and `sync` answer in the shape of `/sync/plan`; they are
    None in a process that doesn't reconcile. `sync` makes one pass and returns when it is over.
    """

    settings: Settings
    database: Database
    app: Celery
    wake: Callable[[], None] = _nobody
    alive: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)
    plan: Callable[[], Mapping[str, Any]] | None = None
    sync: Callable[[], Mapping[str, Any]] | None = None

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
        """The id, name or task_id in the path; names are NFC. Raises NotFound for an id that no database holds."""
        pk = normalize("NFC", self.params["pk"])
        if pk.isdecimal() and int(pk) > _LARGEST_ID:
            raise NotFound(f"there is nothing with the id {pk}")
        return pk


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body that is JSON; errors are RFC 9457 problems."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
