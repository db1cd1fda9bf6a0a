"""Files and the table that they leave, as plans compare them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from taskd.reconcile.claims import Living
from taskd.source.yamlfile import FileReading, read_file


def file(path: str, **schedules: str) -> FileReading:
    """A file of schedules by name, each with the body of its mapping."""
    text = "".join(f"  {name}: {{{body}}}\n" for name, body in schedules.items())
    return read_file(f"schedules:\n{text}".encode(), path, "UTC")


def living(files: list[FileReading], **changed: Mapping[str, Any]) -> list[Living]:
    """The table as those files would leave it, but for `changed` attributes by name."""
    rows = []
    for new in (new for reading in files for new in reading.schedules):
        given: dict[str, Any] = {
            "uid": uuid4(),
            "name": new.spec.name,
            "version": 1,
            "owner": "file",
            "path": new.path,
            "line": new.line,
            "source": "schedules",
            "columns": new.spec.columns(),
        }
        rows.append(Living(**given | dict(changed.get(new.spec.name, {}))))
    return rows


NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)
EVERY_MINUTE = 'task: t, crontab: "* * * * *"'
EVERY_HOUR = 'task: t, crontab: "0 * * * *"'
