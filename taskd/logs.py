"""One line an event, `key=value` or JSON, on standard error; without secrets.

Say more than a sentence with `extra`: `log.info("published", extra={"schedule": name, "task_id": task_id})`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from taskd.config import Settings, masked
from taskd.redaction import redact

_USUAL = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}


def set_up(settings: Settings) -> None:
    """Send every logger's lines to standard error as `logging` and `redact.keys` say, in place of what was there."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(settings))
    logging.basicConfig(level=settings.logging.level, handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts every change at INFO


class OneLine(logging.Formatter):
    """A record with its `extra` as one line."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._keys = settings.redact.keys
        self._render: Callable[[Mapping[str, Any]], str] = {"text": _as_text, "json": _escaped}[
            settings.logging.format
        ]

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        extra = {key: value for key, value in vars(record).items() if key not in _USUAL}
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return masked(self._render({**fields, **redact(extra, self._keys), **fields}))


def _as_text(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_plain(str(value))}" for key, value in fields.items())


def _plain(text: str) -> str:
    """`text`, in quotes where it would be read as nothing or as more than one value."""
    return text if text.isprintable() and text and not set(text) & set(' "=') else _escaped(text)


def _escaped(value: Any) -> str:
    """JSON on one line, with any script readable, but without what would move a terminal's cursor."""
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return shown if shown.isprintable() else json.dumps(value, default=str)
