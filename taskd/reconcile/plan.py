"""What a pass would change, as a value: computed from the files' and the table's state, shown, compared, applied.

Rules      an error isolates its file: what the file last declared stays, marked Stale
           who may have a name, and renames: see claims.py; nothing is taken over silently
           only file-owned schedules are ever updated or deleted
           deletions that may be a mistake are held, until someone approves them: see guards.py
           what changes the table again and again isn't fought without end: HealFighting
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from taskd.config.models import PruneGuard
from taskd.errors import NotAllowed
from taskd.reconcile.claims import Claims, Living, may_declare, settle_claims
from taskd.reconcile.guards import Root, reason_to_hold
from taskd.source.yamlfile import Declared, FileReading, Problem
from taskd.store.conditions import CONFLICT, DELETION_HELD, HEAL_FIGHTING, STALE

MOST_HEALS = 5  # of one schedule in HEAL_SPAN
HEAL_SPAN = 600  # seconds
SHOWN = 10  # names in a sentence


Among = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Create:
    """A name that no living schedule has; the messages of the conditions that it begins with, by type."""

    declared: Declared
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Update:
    """Declared columns that differ, before and after; in a rename also `name`, in an adoption `owner`.

    `drift`: the file is as it was, the table was changed. `adopted_by`: the operator who gave it to the file.
    """

    row: Living
    declared: Declared
    before: dict[str, Any]
    after: dict[str, Any]
    drift: bool = False
    adopted_by: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The same declaration in another place."""

    row: Living
    declared: Declared


class Approval(NamedTuple):
    """An operator's yes to held deletions: their digest, and who gave it."""

    digest: str
    actor: str


@dataclass(frozen=True, slots=True)
class Delete:
    """A schedule that no file declares any more. `why` it is held, if so; or that it was, and who approved."""

    row: Living
    why: str | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A condition to be set, or with None cleared."""

    row: Living
    kind: str
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
        return _digest(self.held)

    @property
    def holding(self) -> str | None:
        """What is held, why, and the command that approves it, in a sentence; None if nothing is."""
        if not self.held:
            return None
        reasons = "; ".join(dict.fromkeys(str(gone.why) for gone in self.held))
        names = ", ".join(gone.row.name for gone in self.held[:SHOWN])
        more = f" and {len(self.held) - SHOWN} more" if len(self.held) > SHOWN else ""
        many = f"{len(self.held)} deletion{'s' * (len(self.held) > 1)}"
        return f"{many} held ({reasons}): {names}{more}; {_how(self.digest)}"


def compare(
    files: Iterable[FileReading],
    table: Iterable[Living],
    *,
    roots: Collection[Root] = (),
    guard: PruneGuard | None = None,
    adopted: Mapping[str, str] | None = None,
    among: Among = iter,
) -> Plan:
    """The plan that brings `table` to what `files` declare.

    `roots`: how the files' roots were found. `adopted`: names that operators (the values) hand from the API to files.
    `among` goes through what is long.
    """
    files, adopted = list(files), adopted or {}
    known = list(table)
    living = {row.name: row for row in known if not row.buried}
    claims = settle_claims(files, living, {row.name: row for row in known if row.buried}, adopted)
    ours = {
        name: row
        for name, row in living.items()
        if row.owner == "file" or (name in adopted and name in claims.declared)
    }
    broken = {file.path: file for file in files if file.broken}
    updates, moves, fighting = _differences(among(claims.declared.items()), ours, adopted)
    gone, hidden = _gone(ours, claims, broken)
    why = reason_to_hold(roots, [row.source for row in gone], len(ours), guard or PruneGuard())
    held = [Delete(row, f"its file has errors: {row.path}") for row in hidden]
    held += [Delete(row, why) for row in gone if why]
    taken_over = {row.uid for row in claims.renamed.values()}
    staying = [(name, row) for name, row in living.items() if row.uid not in taken_over]
    return Plan(
        creates=tuple(
            Create(new, _of_new(new, claims, broken))
            for name, new in claims.declared.items()
            if name not in ours and name not in claims.renamed
        ),
        updates=updates,
        moves=moves,
        renames=tuple(_renamed(row, claims.declared[name]) for name, row in claims.renamed.items()),
        deletes=tuple(Delete(row) for row in gone if not why),
        held=tuple(held),
        marks=tuple(_marks(among([*staying, *claims.renamed.items()]), ours, claims, broken, held, fighting)),
        conflicts=tuple(claims.conflicts),
        problems=(*(problem for file in files for problem in file.problems), *claims.warnings),
        unchanged=len(ours) - len(updates) - len(gone) - len(taken_over & {row.uid for row in ours.values()}),
    )


def approved(plan: Plan, approval: Approval) -> Plan:
    """The plan with its held deletions among its deletions. Raises NotAllowed where others are held by now."""
    if not plan.held or approval.digest != plan.digest:
        now = f"now there are {plan.holding}" if plan.held else "nothing is held now"
        raise NotAllowed(f"no deletions are held under {approval.digest!r}: {now}")
    deletes = [replace(gone, approval=approval) for gone in plan.held]
    uids = {gone.row.uid for gone in deletes}
    marks = tuple(mark for mark in plan.marks if mark.row.uid not in uids)
    return replace(plan, deletes=(*plan.deletes, *deletes), held=(), marks=marks)


def _digest(held: Iterable[Delete]) -> str:
    seen = sorted(f"{gone.row.uid}:{gone.row.version}" for gone in held)
    return blake2b("\n".join(seen).encode(), digest_size=8).hexdigest()


def _how(digest: str) -> str:
    return f"to approve: taskd sync --approve {digest}"


def _gone(
    ours: Mapping[str, Living], claims: Claims, broken: Mapping[str, FileReading]
) -> tuple[list[Living], list[Living]]:
    """What no file declares any more, and what only a file with errors leaves out."""
    taken_over = {row.uid for row in claims.renamed.values()}
    gone: list[Living] = []
    hidden: list[Living] = []
    for name, row in ours.items():
        file = broken.get(row.path or "")
        if name in claims.declared or name in claims.kept or row.uid in taken_over or may_declare(file, name):
            continue
        (hidden if file else gone).append(row)
    return gone, hidden


def _differences(
    declared: Iterable[tuple[str, Declared]], ours: Mapping[str, Living], adopted: Mapping[str, str]
) -> tuple[tuple[Update, ...], tuple[Move, ...], dict[str, str]]:
    """Updates, moves, and by name what to tell of those that something changes again and again."""
    updates, moves, fighting = [], [], {}
    for name, new in declared:
        if (row := ours.get(name)) is None:
            continue
        update = _difference(row, new, adopted.get(name))
        if update is not None and update.drift and _fights(row):
            fighting[name] = (
                f"{', '.join(update.after)}: something changes what {new.path}:{new.line} says, and it was put right "
                f"{MOST_HEALS} times in {HEAL_SPAN // 60} minutes: find what it is, then put the file's values back"
            )
        elif update is not None:
            updates.append(update)
            continue
        if (row.path, row.line) != (new.path, new.line):
            moves.append(Move(row, new))
    return tuple(updates), tuple(moves), fighting


def _difference(row: Living, new: Declared, adopter: str | None) -> Update | None:
    wanted = new.spec.columns()
    same = row.columns == wanted
    changed = [] if same else [column for column, value in wanted.items() if row.columns[column] != value]
    before, after = ({key: side[key] for key in changed} for side in (row.columns, wanted))
    if row.owner != "file":
        return Update(
            row, new, {"owner": row.owner, **before}, {"owner": "file", **after}, adopted_by=adopter
        )
    return Update(row, new, before, after, drift="fingerprint" not in changed) if changed else None


def _fights(row: Living) -> bool:
    return HEAL_FIGHTING in row.conditions or row.heals >= MOST_HEALS


def _renamed(row: Living, new: Declared) -> Update:
    update = _difference(replace(row, owner="file"), new, None)
    before, after = (update.before, update.after) if update else ({}, {})
    return Update(row, new, {"name": row.name, **before}, {"name": new.spec.name, **after})


def _marks(
    rows: Iterable[tuple[str, Living]],
    ours: Mapping[str, Living],
    claims: Claims,
    broken: Mapping[str, FileReading],
    held: Sequence[Delete],
    fighting: Mapping[str, str],
) -> Iterable[Mark]:
    """The conditions that should be there and aren't, or are there and should not."""
    digest = _digest(held)
    holding = {gone.row.name: f"its deletion is held ({gone.why}); {_how(digest)}" for gone in held}
    for name, row in rows:
        counting = claims.declared.get(name)
        file = broken.get(counting.path if counting else row.path or "")
        stale = file and (name in ours or name in claims.renamed) and may_declare(file, name)
        wanted = {
            STALE: _first_error(file) if file and stale else None,
            DELETION_HELD: holding.get(name),
            CONFLICT: claims.contested.get(name),
            HEAL_FIGHTING: fighting.get(name),
        }
        for kind, message in wanted.items():
            if message != row.conditions.get(kind):
                yield Mark(row, kind, message)


def _of_new(new: Declared, claims: Claims, broken: Mapping[str, FileReading]) -> dict[str, str]:
    """The conditions that a schedule has from the start."""
    name, file = new.spec.name, broken.get(new.path)
    stale = _first_error(file) if file and may_declare(file, name) else None
    found = {STALE: stale, CONFLICT: claims.contested.get(name)}
    return {kind: message for kind, message in found.items() if message is not None}


def _first_error(file: FileReading) -> str:
    return str(next(problem for problem in file.problems if problem.severity == "error"))
