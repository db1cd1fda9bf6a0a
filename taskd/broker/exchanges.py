"""Exchanges and bindings as files, so that a producer in another process sees them.

    exchanges/<type>/<exchange>/<binding>    JSON: routing key, pattern, queue

A binding is one small file that appears and goes by itself, so nothing here needs a lock.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kombu.exceptions import ChannelError

from taskd.broker.folder import Folder, as_file_name

Binding = tuple[str, Any, str]  # routing key, a topic's pattern or None, queue


@dataclass(frozen=True)
class Exchanges:
    """The exchanges of the broker in `folder`."""

    folder: Folder

    def names(self) -> list[str]:
        """All exchanges."""
        return [unquote(path.name) for path in self.folder.path("exchanges").glob("*/*")]

    def type_of(self, exchange: str) -> str | None:
        """direct, topic or fanout; None: not declared."""
        path = self._find(exchange)
        return path.parent.name if path else None

    def declare(self, exchange: str, type_: str) -> None:
        """Make the exchange; it may be there already."""
        self.folder.path("exchanges", type_, as_file_name(exchange)).mkdir(parents=True, exist_ok=True)

    def delete(self, exchange: str) -> None:
        """Remove the exchange and its bindings."""
        if path := self._find(exchange):
            shutil.rmtree(path, ignore_errors=True)

    def table(self, exchange: str) -> list[Binding]:
        """The exchange's bindings; none if it isn't declared."""
        path = self._find(exchange)
        return [binding for file in path.iterdir() for binding in _read(file)] if path else []

    def bind(self, exchange: str, binding: Binding) -> None:
        """Add a binding to an exchange that is declared; it may be there already."""
        file = self._file(exchange, binding)
        if not file.exists():
            self.folder.write(json.dumps(binding).encode(), persistent=True).rename(file)

    def unbind(self, exchange: str, binding: Binding) -> None:
        """Remove a binding, if it is there."""
        self._file(exchange, binding).unlink(missing_ok=True)

    def unbind_queue(self, queue: str) -> None:
        """Remove all bindings of `queue`."""
        for exchange in self.names():
            for binding in self.table(exchange):
                if binding[2] == queue:
                    self.unbind(exchange, binding)

    def _find(self, exchange: str) -> Path | None:
        candidates = (path / as_file_name(exchange) for path in self.folder.path("exchanges").iterdir())
        return next((path for path in candidates if path.is_dir()), None)

    def _file(self, exchange: str, binding: Binding) -> Path:
        path = self._find(exchange)
        if path is None:
            raise ChannelError(f"exchange {exchange!r} isn't declared", (50, 20), "Queue.bind", 404)
        return path / hashlib.sha256(json.dumps(binding).encode()).hexdigest()[:32]


def _read(file: Path) -> list[Binding]:
    try:
        routing_key, pattern, queue = json.loads(file.read_text())
    except FileNotFoundError:  # it was removed since the folder was listed
        return []
    return [(routing_key, pattern, queue)]
