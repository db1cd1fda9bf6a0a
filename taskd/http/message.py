"""One message of the live stream, as it goes over an event stream and over a WebSocket."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """What `event` it is; `data` is JSON, `position` from where to resume once this has been read."""

    event: str
    data: str
    position: str | None = None

    def of_events(self) -> bytes:
        """As a Server-Sent Event."""
        known = f"id: {self.position}\n" if self.position else ""
        return f"{known}event: {self.event}\ndata: {self.data}\n\n".encode()

    def of_socket(self) -> str:
        """As JSON."""
        return f'{{"id": {json.dumps(self.position)}, "event": "{self.event}", "data": {self.data}}}'
