"""A server whose answers can be had of each kind: what is asked for, what is away, and secrets wherever they may stand."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from taskd.config import Settings
from taskd.errors import BrokerUnavailable, NotAllowed
from taskd.http import control, server, streaming
from taskd.http.exchange import Context
from taskd.store.database import Database
from taskd.worker import control as workers
from taskd.worker.control import Replies
from tests.unit.http.conftest import SCHEDULERS, THEN, Api, make_api, serving
from tests.unit.http.test_http_tokens import SECRETS, token

SECRET = "hunter2"
BEAT = {"task": "demo.echo", "interval": "5m", "kwargs": {"password": SECRET}}


class Changeable(Context):
    """A context that changes under its server."""

    __setattr__ = object.__setattr__


@dataclass(frozen=True)
class Site:
    """A server with tokens, and what is behind it."""

    api: Api
    url: str
    over: threading.Event = field(default_factory=threading.Event)

    def set(self, patch: pytest.MonkeyPatch, **members: Any) -> None:
        """Let the context have these until the test is over."""
        for name, value in members.items():
            patch.setattr(self.api.context, name, value)


def usual(_site: Site, _patch: pytest.MonkeyPatch) -> None:
    """Nothing special."""


def away(site: Site, patch: pytest.MonkeyPatch) -> None:
    """Neither database nor broker answer."""
    nowhere = Database(f"sqlite:///{site.api.context.settings.state_dir}")
    fail = partial(raising, BrokerUnavailable("no worker could be asked"))
    site.set(patch, database=nowhere, plan=fail, sync=fail)
    patch.setattr(workers, "ask", fail)
    patch.setattr(streaming, "MOST_LISTENERS", 0)


def ill(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.set(patch, alive={"dispatcher": lambda: "no tick for 31 s"}, metrics=None)


def refusing(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.set(patch, sync=partial(raising, NotAllowed("no file declares it")))


def slow(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.set(patch, sync=lambda _: site.over.wait(20) and {})


def silent(_site: Site, patch: pytest.MonkeyPatch) -> None:
    """No worker answers."""
    patch.setattr(workers, "ask", lambda *_: Replies())


def stuck(_site: Site, patch: pytest.MonkeyPatch) -> None:
    """No time is left to wait for workers."""
    patch.setattr(server, "ASIDE", 0)


def hurried(_site: Site, patch: pytest.MonkeyPatch) -> None:
    """No time is left for a body to come."""
    patch.setattr(server, "RECEIVE", 0)


def raising(error: Exception, *_: object) -> Any:
    raise error


def secret_run(api: Api, **columns: Any) -> int:
    given = {"password": SECRET}
    texts = {
        "traceback": f"f(password='{SECRET}')",
        "log": f"token={SECRET}",
        "worker": "w@h",
        "claim": "c.1",
    }
    values = {"args": [given], "kwargs": given, "result": given, "progress": given, "detail": given, **texts}
    return api.ran(str(uuid4()), **{**values, **columns})


def ours(api: Api) -> int:
    """Of the API, changed once, with a run."""
    secrets = {"args": [{"token": SECRET}], "headers": {"Authorization": SECRET}}
    pk = int(api.ask("POST", SCHEDULERS, {"name": str(uuid4()), **BEAT, **secrets}).body["id"])
    api.ask("PATCH", f"{SCHEDULERS}/{pk}", {"kwargs": {"password": f"{SECRET}!"}})
    secret_run(api, schedule_id=pk, scheduled_for=THEN, kind="schedule")
    return pk


def unsendable(api: Api) -> int:
    pk = api.add(str(uuid4()))
    api.change(pk, options={"serializer": "gone"})
    return pk


ROWS: Mapping[str, Callable[[Api], Any]] = {
    "nobody": lambda _: "nobody",
    "ours": ours,
    "file's": lambda api: api.add(str(uuid4()), enabled=False),
    "unsendable": unsendable,
    "done": secret_run,
    "waiting": partial(secret_run, status="PENDING"),
    "running": partial(secret_run, status="STARTED"),
}


@contextmanager
def staged(folder: Path, empty_database: Path) -> Iterator[Site]:
    """It, with one schedule of a file."""
    api = make_api(folder, empty_database)
    http = {"bind": "127.0.0.1:0", "tokens": [token(scope) for scope in SECRETS]}
    own = {
        "settings": Settings(state_dir=folder, http=http),
        "metrics": lambda: b"taskd_up 1\n",
        "plan": lambda: {"creates": []},
        "sync": lambda _: {"creates": []},
    }
    api.context = Changeable(**{each.name: getattr(api.context, each.name) for each in fields(Context)} | own)
    api.add("taken")
    with serving(api) as url:
        yield Site(api, url)


@contextmanager
def telling(site: Site, patch: pytest.MonkeyPatch) -> Iterator[Site]:
    """It, for one test, with workers that tell secrets."""
    told = Replies(
        {"w@h": [{"kwargs": {"token": SECRET}}, f"password='{SECRET}'"]}, {"v@h": f"token={SECRET}"}
    )
    patch.setattr(workers, "ask", lambda *_: told)
    patch.setattr(workers, "tell", lambda *_: None)
    patch.setattr(control, "ENDING", 0.1)
    own = replace(site, over=threading.Event())
    yield own
    own.over.set()
