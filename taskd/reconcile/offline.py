"""A table that isn't there: what a daemon that had followed some files would have in its own."""

from collections.abc import Mapping

from taskd.reconcile.claims import Living
from taskd.schedule.spec import uid_of
from taskd.source.yamlfile import FileReading


def table_of(files: Mapping[str, FileReading]) -> list[Living]:
    """The schedules of files by path; of two that claim one name, the first by path."""
    table: dict[str, Living] = {}
    for path, new in ((path, new) for path, file in sorted(files.items()) for new in file.schedules):
        name = new.spec.name
        uid = uid_of(new.spec.replaces or name)  # what replaces another has its identity
        row = Living(uid, name, 1, "file", None, path, new.line, new.spec.columns())
        table.setdefault(name, row)
    return list(table.values())
