"""Which declaration of a name counts, and which schedule of the table it is about: names, owners, renames.

situation                                         what counts
two files claim one name                          the incumbent's; with none, the first by path; the other is an error
the incumbent's file is broken                    the incumbent stays as it was; the newcomer is an error,
                                                  unless the file evidently declares the name no more
the name belongs to the API                       neither, until the schedule is adopted
`replaces: OLD`, and OLD lives or was deleted     that schedule, under its new name
… and the new name lives already                  the new name's own: the rename was done before
… but OLD is declared still, is the API's, is     neither: an error, and both stay as they are
  replaced by two, or lives beside the new name
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, Literal
from uuid import UUID

from taskd.source.yamlfile import Declared, FileReading, Problem


@dataclass(frozen=True, slots=True)
class Living:
    """A schedule in the table: its identity, place, declared columns, and its conditions' messages by type.

    `heals` counts how often it was put right lately. One that is `buried` was deleted, and its name may return.
    """

    uid: UUID
    name: str
    version: int
    owner: str
    source: str | None
    path: str | None
    line: int | None
    columns: Mapping[str, Any]
    conditions: Mapping[str, str] = field(default_factory=dict)
    heals: int = 0
    buried: bool = False


@dataclass(slots=True)
class Claims:
    """The outcome. `declared`: what counts, by name; `renamed`: the schedule that a new name takes over.

    `contested`: what to tell at the schedules that a conflict is about, by name; `kept`: names that stay as they are.
    """

    declared: dict[str, Declared] = field(default_factory=dict)
    renamed: dict[str, Living] = field(default_factory=dict)
    conflicts: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    contested: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)


def may_declare(file: FileReading | None, name: str) -> bool:
    """Whether a broken file may mean to declare `name`, as far as it can be read."""
    return file is not None and (file.names is None or name in file.names)


def settle_claims(
    files: Iterable[FileReading],
    living: Mapping[str, Living],
    buried: Mapping[str, Living],
    adopted: Collection[str],
) -> Claims:
    """What each name comes to. `adopted` are names that an operator hands from the API to the files."""
    files = sorted(files, key=lambda file: file.path)
    broken = {file.path: file for file in files if file.broken}
    claims = Claims()
    for new in (
        new for file in files for new in file.counting if not file.broken or may_declare(file, new.spec.name)
    ):
        _claim(claims, new, living.get(new.spec.name), broken, adopted)
    _settle_renames(claims, living, buried, broken)
    return claims


def _claim(
    claims: Claims,
    new: Declared,
    row: Living | None,
    broken: Mapping[str, FileReading],
    adopted: Collection[str],
) -> None:
    name, rival = new.spec.name, claims.declared.get(new.spec.name)
    if row is not None and row.owner != "file" and name not in adopted:
        how = f"`taskd adopt {quote(name)}` hands it to"
        claims.conflicts.append(
            _problem(new, f"this name belongs to the API: {how} this file, or rename this one")
        )
        claims.contested[name] = f"{_place(new)} declares this name too: {how} the file"
    elif row is not None and row.path != new.path and may_declare(broken.get(row.path or ""), name):
        why = f"this name is declared in {row.path}:{row.line} already, which has errors now"
        claims.conflicts.append(_problem(new, why))
    elif rival is None:
        claims.declared[name] = new
    else:
        incumbent, newcomer = (new, rival) if row and row.path == new.path else (rival, new)
        claims.declared[name] = incumbent
        why = f"this name is declared in {_place(incumbent)} already: rename one of them"
        claims.conflicts.append(_problem(newcomer, why))


def _settle_renames(
    claims: Claims,
    living: Mapping[str, Living],
    buried: Mapping[str, Living],
    broken: Mapping[str, FileReading],
) -> None:
    replacing: dict[str, list[Declared]] = {}
    for new in claims.declared.values():
        if new.spec.replaces:
            replacing.setdefault(new.spec.replaces, []).append(new)
    refused = []
    for new in (new for rivals in replacing.values() for new in rivals):
        rivals = [other for other in replacing[str(new.spec.replaces)] if other is not new]
        if flaw := _rename_flaw(claims, new, rivals, living, broken):
            _keep_both(claims, new, flaw)
            refused.append(new.spec.name)
        else:
            _rename(claims, new, living, buried)
    for name in refused:
        del claims.declared[name]


def _rename_flaw(
    claims: Claims,
    new: Declared,
    rivals: Sequence[Declared],
    living: Mapping[str, Living],
    broken: Mapping[str, FileReading],
) -> str | None:
    """Why `new` can't take over what it replaces; None where it can, has done so, or finds nothing."""
    name, old = new.spec.name, str(new.spec.replaces)
    if still := claims.declared.get(old):
        return f"{old!r} is declared in {_place(still)} still: take it away there, or `replaces` here"
    row = living.get(old)
    if name in living:
        there = row is not None and row.owner == "file"
        return (
            f"{name!r} has a history of its own, beside that of {old!r}: take `replaces` out"
            if there
            else None
        )
    if rivals:
        return f"{rivals[0].spec.name!r} in {_place(rivals[0])} replaces {old!r} too: only one can"
    if row is not None and row.owner != "file":
        return f"{old!r} belongs to the API: delete it there, or adopt it under its own name first"
    if row is not None and may_declare(broken.get(row.path or ""), old):
        return f"{old!r} is in {row.path}, which has errors now: mend it first"
    return None


def _keep_both(claims: Claims, new: Declared, flaw: str) -> None:
    """A rename that can't be: neither name is touched until it is mended."""
    claims.conflicts.append(_problem(new, f"replaces: {flaw}"))
    for name in (new.spec.name, str(new.spec.replaces)):
        claims.kept.add(name)
        claims.contested.setdefault(name, str(claims.conflicts[-1]))


def _rename(
    claims: Claims, new: Declared, living: Mapping[str, Living], buried: Mapping[str, Living]
) -> None:
    name, old = new.spec.name, str(new.spec.replaces)
    if name in living:
        return
    if row := living.get(old) or buried.get(old):
        claims.renamed[name] = row
    elif living and name not in buried:  # an empty table has seen no name yet: nothing to say there
        why = f"replaces: there is no {old!r}, nor was there lately: {name!r} begins anew"
        claims.warnings.append(_problem(new, why, "warning"))


def _problem(new: Declared, why: str, severity: Literal["error", "warning"] = "error") -> Problem:
    return Problem(new.path, new.line, new.column, new.spec.name, why, severity)


def _place(new: Declared) -> str:
    return f"{new.path}:{new.line}"
