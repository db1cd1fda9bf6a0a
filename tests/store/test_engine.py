"""The two threads that fire tell whoever wants the machine for something else when they need it."""

import math
import threading

import pytest
from celery import Celery

from taskd.dispatch import engine as engine_module
from taskd.dispatch.engine import Engine
from taskd.dispatch.leader import Leadership
from taskd.parts import Dispatching
from taskd.store import schema
from taskd.store.database import Database
from tests.waiting import eventually


class Thinking(Leadership):
    """One that doesn't know for a while whether it leads."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "dispatch", "me", ttl=15)
        self.thinks, self.knows = threading.Event(), threading.Event()

    def step(self, seconds: float) -> bool:
        self.thinks.set()
        assert self.knows.wait(60)
        return super().step(seconds)


def test_it_is_free_while_both_threads_sleep_or_hang(
    sqlite_url: str, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "HUNG", math.inf)
    database = Database(sqlite_url)
    schema.upgrade(database)
    leadership = Thinking(database)
    engine = Engine(database, app, leadership)
    engine.start()
    try:
        assert leadership.thinks.wait(60)
        assert engine.free_for() <= 0
        monkeypatch.setattr(engine_module, "HUNG", 0.0)
        eventually(lambda: engine.free_for() > 0, within=60)
        monkeypatch.setattr(engine_module, "HUNG", math.inf)
        assert engine.free_for() <= 0
        leadership.knows.set()
        eventually(lambda: engine.free_for() > 0, within=60)
    finally:
        leadership.knows.set()
        assert engine.stop(within=60)
        database.close()


def test_where_nothing_is_dispatched_all_is_free(sqlite_url: str, app: Celery) -> None:
    database = Database(sqlite_url)
    leadership = Leadership(database, "dispatch", "me", ttl=15)
    assert Dispatching(database, app, leadership, frozenset()).free_for() == math.inf
    database.close()
