"""`tail`: what happens, as it happens, from a daemon's live stream or from the tables themselves."""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import click
from rich.text import Text

from taskd import clock
from taskd.cli import output
from taskd.cli.client import PREFIX, Refused, place_of, sentence_of
from taskd.cli.invocation import Command, Invocation
from taskd.cli.screen import People
from taskd.cli.settings import settings_of
from taskd.cli.ways import Place
from taskd.config import Settings
from taskd.errors import Unavailable
from taskd.http.message import Message
from taskd.schedule.zones import zone

LOOK_EVERY = 0.5  # seconds between two looks at the tables
AGAIN = 2.0  # seconds before what was lost is asked for again
_REMEMBERED = 4096  # messages that aren't shown twice where a stream goes on


@click.command(cls=Command)
@click.pass_obj
def tail(invocation: Invocation) -> None:
    """What happens, as it happens: fires and outcomes, changes, passes, leadership, workers. Ctrl-C ends it.

    \b
    Examples:
      taskd tail
      taskd tail --json | jq -c 'select(.event == "run" and .data.status == "FAILURE") | .data'
    """
    settings = settings_of(invocation)
    place = place_of(invocation, settings)
    screen = People(zone(settings.timezone))
    with suppress(KeyboardInterrupt):
        for message in _of_tables(settings) if place is None else _of_stream(place):
            data = json.loads(message.data)
            if invocation.json:
                output.print_json_line({"id": message.position, "event": message.event, "data": data})
            else:
                _show(screen, message.event, data)


def _of_tables(settings: Settings) -> Iterator[Message]:
    from taskd.cli.database import migrated  # noqa: PLC0415  a daemon's stream needs neither SQLAlchemy nor Celery
    from taskd.http.watching import Watch  # noqa: PLC0415

    database = click.get_current_context().with_resource(migrated(settings))
    keys = frozenset(key.lower() for key in settings.redact.keys)
    watch = Watch(database, keys, clock.now(), clock.monotonic())
    yield from watch.begin(None)
    lost = _Lost()
    while True:
        time.sleep(LOOK_EVERY)
        try:
            yield from watch.look(clock.now(), clock.monotonic())
            lost.over()
        except Unavailable as error:
            lost.tell(error)


def _of_stream(place: Place) -> Iterator[Message]:
    """What a daemon tells; where it goes away, from there on once it is back."""
    position, lost = None, _Lost()
    shown: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
    while True:
        try:
            going_on = position is not None
            for message in _messages(place, position):
                lost.over()
                told = message.event, message.data
                if not (going_on and told in shown):
                    yield message
                shown.append(told)
                # What is told again comes before the first position.
                going_on, position = going_on and not message.position, message.position or position
        except Unavailable as error:
            if position is None:
                raise
            lost.tell(error)
        time.sleep(AGAIN)


def _messages(place: Place, position: str | None) -> Iterator[Message]:
    resume = {} if position is None else {"Last-Event-ID": position}
    with place.stream(f"{PREFIX}/events", resume) as response:
        if response.status != 200:
            with suppress(ValueError):
                refused = sentence_of(json.loads(response.read()))
                raise Unavailable(refused) if response.status == 503 else Refused(refused)
            raise Unavailable(f"what answers at {place.shown} isn't taskd's live stream: check the URL")
        yield from _parsed(response)


def _parsed(lines: Iterable[bytes]) -> Iterator[Message]:
    """Server-Sent Events, as the daemon writes them."""
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.decode().rstrip("\r\n").partition(": ")
        if key:
            fields[key] = value
        elif "data" in fields:
            yield Message(fields["event"], fields["data"], fields.get("id"))
            fields = {}


class _Lost:
    """Says once that the other side is away, and once that it is back."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, error: Unavailable) -> None:
        if not self._told:
            output.say(f"{error}; waiting for it")
        self._told = True

    def over(self) -> None:
        if self._told:
            output.say("it is back")
        self._told = False


def _show(screen: People, event: str, data: Mapping[str, Any]) -> None:
    match event:
        case "fired":
            screen.run("fired", dict(data))
        case "run" if data["status"] not in {"PENDING", "STARTED"}:
            screen.run("retried" if data["status"] == "RETRY" else "ended", dict(data))
        case "change":
            told = Text(f"{data['name'] or ''}  ".lstrip()).append(
                f"{data['kind']} by {data['actor']}", "dim"
            )
            screen.note(data["at"], told)
        case "source":
            detail = data["detail"] or {}
            told = Text(f"{detail.get('source', '')}  ").append(
                f"{data['kind']} {data['revision'] or ''}", "dim"
            )
            screen.note(data["at"], told)
        case "leader":
            leads = f"led by {data['holder']}" if data["holder"] else "led by nobody"
            screen.note(None, Text(f"{data['lease']}  ").append(leads, "dim"))
        case "worker":
            screen.note(None, Text(f"{data['name']}  ").append("online" if data["online"] else "gone", "dim"))
        case "reset":
            output.say(data["reason"])
