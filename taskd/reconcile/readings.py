"""What a plan and its writing need to know of the trees as they were read."""

from collections.abc import Sequence

from taskd.reconcile.apply import Source
from taskd.reconcile.guards import Root
from taskd.source.tree import TreeReading
from taskd.source.yamlfile import FileReading


def roots_of(readings: Sequence[TreeReading]) -> list[Root]:
    """How each root was found."""
    return [
        Root(
            reading.root,
            len(reading.files),
            sum(len(file.counting) for file in reading.files.values()),
            reading.error,
        )
        for reading in readings
    ]


def renaming(files: Sequence[FileReading]) -> set[str]:
    """The names that renames are about."""
    renaming = [new.spec for file in files for new in file.counting if new.spec.replaces]
    return {name for spec in renaming for name in (spec.name, str(spec.replaces))}


def sources_of(readings: Sequence[TreeReading]) -> dict[str, Source]:
    """By root, and by path of each file."""
    found: dict[str, Source] = {}
    for reading in readings:
        source = Source(reading.root, reading.revision)
        found |= {reading.root: source, **dict.fromkeys(reading.files, source)}
    return found
