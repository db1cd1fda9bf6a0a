"""One line of the table of endpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from taskd.http.callers import Scope
from taskd.http.exchange import Answer, Context, Request

Handler = Callable[[Context, Request], Answer]
Place = Literal["loop", "threads", "aside", "live"]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint, and what answers it: the server's `loop`, where it waits for nothing; the `threads`, where it asks
    the database; `aside`, where it waits for workers, so that all these waiting leave the threads to others; `live`,
    on the loop, by a stream that goes on until one side ends it.
    """

    method: str
    path: str
    scope: Scope
    handler: Handler
    on: Place = "threads"

    def params(self, segments: list[str]) -> dict[str, str] | None:
        """The path's parameters by name, still encoded; None if the path isn't this one."""
        own = self.path.split("/")
        pairs = list(zip(own, segments, strict=False))
        if len(own) != len(segments) or any(
            name != given if not name.startswith("{") else not given for name, given in pairs
        ):
            return None
        return {name.strip("{}"): given for name, given in pairs if name.startswith("{")}
