"""SIGHUP: rereads the schedule files, and says which settings have changed and wait for a restart.

fault                               what happens
taskd.yaml is broken                one line in the log; the settings stay, the schedule files are read all the same
the database is away, another leads no pass here; whoever leads makes one with its next poll
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from pydantic import BaseModel

from taskd import clock
from taskd.config import Settings
from taskd.errors import ConfigError, LeaseLost, Unavailable
from taskd.notify import notify

log = logging.getLogger("taskd.daemon")


class Reloading:
    """A service: reloads whenever `asked` is set. `reread` gives the settings as they would be after a restart."""

    name = "reload"
    needs_lease = None

    def __init__(
        self,
        asked: asyncio.Event,
        settings: Settings,
        reread: Callable[[], Settings],
        make_pass: Callable[[], object],
    ) -> None:
        self._asked, self._settings, self._reread, self._make_pass = asked, settings, reread, make_pass

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. systemd is told when a reload begins and when it is over: sd_notify(3)."""
        while True:
            waiting = [asyncio.ensure_future(event.wait()) for event in (stop, self._asked)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in waiting:
                future.cancel()
            if stop.is_set():
                return
            self._asked.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={clock.monotonic_usec()}")
            await asyncio.to_thread(self._reload)
            notify("READY=1")

    def _reload(self) -> None:
        log.info("reloading")
        try:
            if names := list(changed(self._settings, self._reread())):
                log.warning("settings that changed and take effect at the next start: %s", ", ".join(names))
        except ConfigError as error:
            mistakes = "; ".join(str(error).splitlines())
            log.error("the settings stay as they are: %s", mistakes)  # noqa: TRY400  an operator needs no traceback
        try:
            self._make_pass()
        except (LeaseLost, Unavailable) as error:
            log.warning("no pass: %s", error)


def changed(before: BaseModel, after: BaseModel) -> Iterator[str]:
    """The names of the settings that differ, dotted: never their values, which may be secret."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from (f"{name}.{below}" for below in changed(old, new))
        else:
            yield name
