"""A large plan in parts, each for a transaction of its own: what fires meanwhile waits for none of them for long.

A file's changes are never parted, so that a pass that ends in the middle leaves whole files, old or new. The last
part is the plan's own copy: it carries whatever else a plan has to say.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from taskd.reconcile.plan import Create, Delete, Mark, Move, Plan, Update

SIZE = 20
"""Changes of a part, unless one file has more."""

_Change = Create | Update | Move | Delete | Mark


def in_parts(plan: Plan, size: int = SIZE) -> list[Plan]:
    """Plans that together do what `plan` does; it alone where it renames, since one name then waits for another's."""
    by_file = _by_file(plan)
    if plan.renames or sum(map(len, by_file.values())) <= size:
        return [plan]
    groups: list[list[_Change]] = [[]]
    for changes in by_file.values():
        if groups[-1] and len(groups[-1]) + len(changes) > size:
            groups.append([])
        groups[-1] += changes
    *first, last = (_sorted_out(group) for group in groups)
    return [*(Plan(**part) for part in first), replace(plan, **last)]


def _by_file(plan: Plan) -> dict[str, list[_Change]]:
    """All changes by the file that they belong to: that of a row's declaration, as long as it has one."""
    found: dict[str, list[_Change]] = defaultdict(list)
    declared: list[Create | Update | Move] = [*plan.creates, *plan.updates, *plan.moves]
    others: list[Delete | Mark] = [*plan.deletes, *plan.marks]
    place = {}
    for change in declared:
        found[change.declared.path].append(change)
        if not isinstance(change, Create):
            place[change.row.uid] = change.declared.path
    for other in others:
        found[place.get(other.row.uid, other.row.path or "")].append(other)
    return found


def _sorted_out(changes: list[_Change]) -> dict[str, Any]:
    def only(kind: type[_Change]) -> Iterator[_Change]:
        return (change for change in changes if type(change) is kind)

    kinds = {"creates": Create, "updates": Update, "moves": Move, "deletes": Delete, "marks": Mark}
    return {name: tuple(only(kind)) for name, kind in kinds.items()}
