"""A virtual transport on a worker's event loop.

With a loop, each process of a prefork pool has a pipe of its own. Without, as kombu's virtual transports mostly are,
the processes share one: a process that is killed may take its lock along, and no other one runs anything again.

The loop waits for descriptors and timers, and doesn't see what a callback asks for before it waits again; so neither
`call_soon` nor a timer of zero seconds would do. A pipe does that is readable while there may be messages.
"""

import os
from contextlib import suppress
from queue import Empty
from typing import Any

from kombu.asynchronous import Hub
from kombu.transport import virtual
from kombu.utils.scheduling import FairCycle

RINGS = 4096  # bytes read at once: all that may have been rung


class LoopedTransport(virtual.Transport):
    """Takes a message a turn, as long as there are any; looks anew when asked, and every `polling_interval` seconds."""

    polling_interval = 0.1
    implements = virtual.Transport.implements.extend(asynchronous=True)

    cycle: FairCycle
    _bell: "Bell | None" = None

    def register_with_event_loop(self, connection: Any, loop: Hub) -> None:  # noqa: ARG002 kombu's signature
        """Take messages there from now on."""
        self._bell = Bell(self, loop)

    def look(self) -> None:
        """Look for messages at the loop's next turn, if there is a loop."""
        if self._bell:
            self._bell.ring()

    def take(self) -> bool:
        """Deliver the next message; False: there is none, or no room for it."""
        try:
            self.cycle.get(self._deliver)
        except Empty:
            return False
        return True

    def close_connection(self, connection: Any) -> None:
        """Leave the loop, and close all channels."""
        if self._bell:
            self._bell.close()
            self._bell = None
        super().close_connection(connection)


class Bell:
    """The pipe of one transport in one loop."""

    def __init__(self, transport: LoopedTransport, loop: Hub) -> None:
        self._transport, self._loop = transport, loop
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        loop.add_reader(self._out, self._turn)
        self._timer = loop.call_repeatedly(transport.polling_interval, self.ring)
        self.ring()

    def ring(self) -> None:
        """Make it readable."""
        with suppress(BlockingIOError):  # rung often enough
            os.write(self._in, b"!")

    def _turn(self) -> None:
        if not self._transport.take():
            os.read(self._out, RINGS)

    def close(self) -> None:
        """Leave the loop."""
        self._timer.cancel()
        self._loop.remove(self._out)
        os.close(self._in)
        os.close(self._out)
