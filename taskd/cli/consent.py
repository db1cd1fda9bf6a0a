"""`dev` asks about held deletions on its own screen. Nothing waits for the answer, and none keeps them."""

import asyncio
import os
import termios
from contextlib import suppress

from taskd.cli import output
from taskd.cli.client import Client, Refused
from taskd.clock import waited
from taskd.errors import Unavailable
from taskd.store import sources
from taskd.store.conditions import DELETION_HELD, message_of
from taskd.store.database import Database

LOOK_EVERY = 0.5  # seconds


class Consent:
    """Asks once for each set of deletions; who has answered otherwise has the command that approves them."""

    name = "consent"
    needs_lease = None

    def __init__(self, database: Database, client: Client, terminal: int) -> None:
        self._database, self._client, self._terminal = database, client, terminal
        self._asked: str | None = None
        self.approving: asyncio.Task[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not await waited(stop, LOOK_EVERY):
            with suppress(Refused, Unavailable):  # the daemon in this process says so
                await self.look()
        self._withdraw()

    async def look(self) -> None:
        """Ask about what is held, unless that was asked before; nothing any more where it is settled."""
        holding = await asyncio.to_thread(self._holding)
        if holding == self._asked:
            return
        self._withdraw()
        if holding:
            plan = await asyncio.to_thread(self._client.get, "sync", "plan")
            if plan["holding"] != holding:
                return  # it has changed since: the next look sees it
            self._ask(plan["digest"])
        self._asked = holding

    def _holding(self) -> str | None:
        """What is held, as the last pass told it."""
        rows = self._database.read(sources.status)
        return next(filter(None, (message_of(row.conditions, DELETION_HELD) for row in rows)), None)

    def _ask(self, digest: str) -> None:
        if not _in_front(self._terminal):
            return
        termios.tcflush(self._terminal, termios.TCIFLUSH)  # what was typed before is no answer
        output.say("Delete them? y and Enter deletes, anything else keeps them.")
        asyncio.get_running_loop().add_reader(self._terminal, self._answered, digest)

    def _withdraw(self) -> None:
        asyncio.get_running_loop().remove_reader(self._terminal)

    def _answered(self, digest: str) -> None:
        self._withdraw()
        if not _in_front(self._terminal):
            return  # what is typed there is for somebody else
        if os.read(self._terminal, 1024).strip().lower() in {b"y", b"yes"}:
            self.approving = asyncio.create_task(self._approve(digest))
        else:
            output.say("they are kept")

    async def _approve(self, digest: str) -> None:
        try:
            await asyncio.to_thread(self._client.post, "sync", "approve", digest=digest)
        except (Refused, Unavailable) as error:
            output.say(f"taskd: {error}")


def _in_front(terminal: int) -> bool:
    """Whether this process may touch it: one in the background would be stopped for that."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not the terminal that controls this process: nobody stops it
        return True
