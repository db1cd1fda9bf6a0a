"""`taskd dev` asks on its terminal whether held deletions may go."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from taskd.cli.client import Client
from taskd.cli.consent import Consent
from taskd.cli.direct import in_process
from taskd.config import load
from taskd.store.database import Database
from tests.unit.conftest import Workplace
from tests.waiting import eventually

QUESTION = "Delete them? y and Enter deletes, anything else keeps them."


@pytest.fixture
def held(place: Workplace) -> Workplace:
    """One whose five schedules are gone from its files."""
    names = ", ".join(f"s{n}: {{task: t, interval: 1h}}" for n in range(5))
    file = place.file(f"schedules: {{{names}}}")
    place.taskd("db", "upgrade")
    place.taskd("sync")
    file.unlink()
    assert "5 deletions held" in place.taskd("sync").stderr
    return place


@pytest.fixture
def database(held: Workplace) -> Iterator[Database]:
    database = held.database()
    yield database
    database.close()


@pytest.fixture
def client() -> Iterator[Client]:
    with click.Context(click.Command("test")).scope():
        yield Client(in_process(load(None, {})))


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A person's side, and the program's."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def consent(held: Workplace, database: Database, client: Client, terminal: tuple[int, int]) -> Consent:
    return Consent(database, client, terminal[1])


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was said so far."""
    told = []

    def everything() -> str:
        told.append(capsys.readouterr().err)
        return "".join(told)

    return everything


async def becomes(check: Callable[[], Any]) -> None:
    """Wait beside the event loop, which reads the terminal."""
    await asyncio.to_thread(eventually, check)


async def test_yes_deletes_them(held: Workplace, consent: Consent, terminal: tuple[int, int]) -> None:
    await consent.look()
    os.write(terminal[0], b"y\n")
    await becomes(lambda: consent.approving)
    assert consent.approving
    await consent.approving
    assert held.json("list") == []


async def test_anything_else_keeps_them_and_they_are_not_asked_about_again(
    held: Workplace, consent: Consent, terminal: tuple[int, int], said: Callable[[], str]
) -> None:
    await consent.look()
    os.write(terminal[0], b"\n")
    await becomes(lambda: "they are kept" in said())
    await consent.look()
    assert said().count(QUESTION) == 1
    assert len(held.json("list")) == 5


async def test_what_was_typed_before_is_no_answer(
    held: Workplace, consent: Consent, terminal: tuple[int, int], said: Callable[[], str]
) -> None:
    os.write(terminal[0], b"y\n")
    await consent.look()
    os.write(terminal[0], b"no\n")
    await becomes(lambda: "they are kept" in said())
    assert len(held.json("list")) == 5


async def test_what_is_held_no_more_is_not_asked_about(
    held: Workplace, consent: Consent, terminal: tuple[int, int], said: Callable[[], str]
) -> None:
    await consent.look()
    held.file("schedules: {s0: {task: t, interval: 1h}, s1: {task: t, interval: 1h}}")
    held.taskd("sync")
    await consent.look()
    assert said().count(QUESTION) == 1
    assert not asyncio.get_running_loop().remove_reader(terminal[1])


async def test_it_goes_on_until_it_is_to_stop(
    consent: Consent, terminal: tuple[int, int], said: Callable[[], str]
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(consent.run(stop))
    await becomes(lambda: QUESTION in said())
    stop.set()
    await running
    assert not asyncio.get_running_loop().remove_reader(terminal[1])
