"""What a pass would change, as a value: computed from the files' and the table's state, shown, compared, applied.

Rules      an error isolates its file: what the file last declared stays, marked stale
           two files that claim one name: the incumbent stays, the newcomer is an error naming both places
           an API-owned schedule of the same name is a conflict; nothing is taken over silently
           only file-owned schedules are ever updated or deleted
           nothing is deleted while a root can't be read: it is held
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import UUID

from taskd.source.yamlfile import Declared, FileReading, Problem


@dataclass(frozen=True, slots=True)
class Living:
    """A schedule in the table: its identity, place and declared columns."""

    uid: UUID
    name: str
    version: int
    owner: str
    path: str | None
    line: int | None
    stale: str | None
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """A name that no living schedule has."""

    declared: Declared


@dataclass(frozen=True, slots=True)
class Update:
    """Declared columns that differ, before and after. `drift`: the file is as it was, the table was changed."""

    row: Living
    declared: Declared
    before: dict[str, Any]
    after: dict[str, Any]
    drift: bool


@dataclass(frozen=True, slots=True)
class Move:
    """The same declaration in another place."""

    row: Living
    declared: Declared


@dataclass(frozen=True, slots=True)
class Delete:
    """A schedule that no file declares any more."""

    row: Living


@dataclass(frozen=True, slots=True)
class Mark:
    """A `Stale` condition to be set, or with None cleared."""

    row: Living
    message: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a pass would do, and what it won't: `held` deletions, `conflicts` and `problems` of the files."""

    creates: tuple[Create, ...] = ()
    updates: tuple[Update, ...] = ()
    moves: tuple[Move, ...] = ()
    renames: tuple[Update, ...] = ()
    deletes: tuple[Delete, ...] = ()
    held: tuple[Delete, ...] = ()
    marks: tuple[Mark, ...] = ()
    conflicts: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    unchanged: int = field(default=0, compare=False)

    @property
    def changes(self) -> int:
        """How many schedules it would create, update, rename or delete."""
        return len(self.creates) + len(self.updates) + len(self.renames) + len(self.deletes)

    @property
    def writes(self) -> bool:
        """Whether applying it writes anything."""
        return bool(self.changes or self.moves or self.marks)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What someone has to mend: conflicts and errors in files."""
        return (*self.conflicts, *(problem for problem in self.problems if problem.severity == "error"))

    @property
    def digest(self) -> str:
        """Stands for the held deletions as they were seen: an approval of it means no others."""
        held = sorted(f"{delete.row.uid}:{delete.row.version}" for delete in self.held)
        return blake2b("\n".join(held).encode(), digest_size=8).hexdigest()


def compare(files: Iterable[FileReading], table: Iterable[Living], *, unreadable: bool = False) -> Plan:
    """The plan that brings `table` to what `files` declare. `unreadable`: a root could not be read as a whole."""
    files = list(files)
    living = {row.name: row for row in table}
    broken = {file.path: _first_error(file) for file in files if file.broken}
    declared, conflicts = _claims((file for file in files if not file.broken), living, broken)
    ours = {name: row for name, row in living.items() if row.owner == "file"}
    updates, moves = _differences(declared, ours)
    gone = [Delete(row) for name, row in ours.items() if name not in declared and row.path not in broken]
    return Plan(
        creates=tuple(Create(new) for name, new in declared.items() if name not in ours),
        updates=updates,
        moves=moves,
        deletes=() if unreadable else tuple(gone),
        held=tuple(gone) if unreadable else (),
        marks=tuple(_marks(ours, declared, broken)),
        conflicts=tuple(conflicts),
        problems=tuple(problem for file in files for problem in file.problems),
        unchanged=len(ours) - len(updates) - len(gone),
    )


def _claims(
    files: Iterable[FileReading], living: Mapping[str, Living], broken: Mapping[str, str]
) -> tuple[dict[str, Declared], list[Problem]]:
    """Which file's declaration of a name counts, and what the others are told."""
    claimed: dict[str, Declared] = {}
    conflicts = []
    for new in (new for file in files for new in file.schedules):
        row = living.get(new.spec.name)
        rival = claimed.get(new.spec.name)
        if row is not None and row.owner != "file":
            conflicts.append(_conflict(new, "belongs to the API: delete it there, or rename this one"))
        elif row is not None and row.path in broken and row.path != new.path:
            conflicts.append(
                _conflict(new, f"is declared in {row.path}:{row.line} already, which has errors now")
            )
        elif rival is None:
            claimed[new.spec.name] = new
        else:
            incumbent, newcomer = (new, rival) if row and row.path == new.path else (rival, new)
            claimed[new.spec.name] = incumbent
            place = f"{incumbent.path}:{incumbent.line}"
            conflicts.append(_conflict(newcomer, f"is declared in {place} already: rename one of them"))
    return claimed, conflicts


def _conflict(new: Declared, why: str) -> Problem:
    return Problem(new.path, new.line, new.column, new.spec.name, f"this name {why}")


def _differences(
    declared: Mapping[str, Declared], ours: Mapping[str, Living]
) -> tuple[tuple[Update, ...], tuple[Move, ...]]:
    updates, moves = [], []
    for name, new in declared.items():
        if (row := ours.get(name)) is None:
            continue
        wanted = new.spec.columns()
        changed = [column for column, value in wanted.items() if row.columns[column] != value]
        if changed:
            before, after = ({key: side[key] for key in changed} for side in (row.columns, wanted))
            updates.append(Update(row, new, before, after, drift="fingerprint" not in changed))
        elif (row.path, row.line) != (new.path, new.line):
            moves.append(Move(row, new))
    return tuple(updates), tuple(moves)


def _marks(
    ours: Mapping[str, Living], declared: Mapping[str, Declared], broken: Mapping[str, str]
) -> Iterable[Mark]:
    for name, row in ours.items():
        message = None if name in declared else broken.get(row.path or "")
        if message != row.stale:
            yield Mark(row, message)


def _first_error(file: FileReading) -> str:
    return str(next(problem for problem in file.problems if problem.severity == "error"))
