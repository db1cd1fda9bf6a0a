"""What holds of every plan, whatever the files and the table are."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID, uuid5

from hypothesis import example, given
from hypothesis import strategies as st

from taskd.config.models import PruneGuard
from taskd.reconcile.claims import Living
from taskd.reconcile.plan import Approval, Plan, approved, compare
from taskd.schedule.spec import uid_of
from taskd.source.yamlfile import Declared, FileReading, read_file

NAMES = ["a", "b", "c", "d"]
PATHS = ["x.yaml", "y.yaml", "z.yaml"]

entries = st.fixed_dictionaries(
    {"interval": st.integers(1, 3)}, optional={"replaces": st.sampled_from(NAMES), "wrong": st.just(1)}
)
files = st.dictionaries(
    st.sampled_from(PATHS),
    st.tuples(st.dictionaries(st.sampled_from(NAMES), entries, max_size=4), st.sampled_from(["", "", "nonsense: 1", "["])),
)  # fmt: skip
tables = st.lists(
    st.builds(
        lambda *columns: row(*columns),  # noqa: PLW0108  it is defined below
        st.sampled_from(NAMES),
        st.integers(1, 3),
        st.sampled_from(["file", "file", "file", "api", "buried"]),
        st.sampled_from([*PATHS, "gone.yaml"]),
        st.integers(0, 6),
        st.dictionaries(st.sampled_from(["Stale", "DeletionHeld", "Conflict", "HealFighting", "Unrecorded"]), st.just("…"), max_size=2),
    ),
    max_size=6,
).map(lambda rows: list({(each.name, each.buried): each for each in rows}.values()))  # fmt: skip
guards = st.sampled_from([PruneGuard(min=0, percent=0), PruneGuard(), PruneGuard(min=9, percent=100)])


def row(name: str, interval: int, owner: str, path: str, heals: int, conditions: dict[str, str]) -> Living:
    [new] = read(path, {name: {"interval": interval}}).schedules
    home = (None, None, None) if owner == "api" else ("root", path, 2)
    living = Living(
        uid_of(name),
        name,
        1,
        "api" if owner == "api" else "file",
        *home,
        new.spec.columns(),
        conditions,
        heals,
    )
    return (
        replace(living, uid=uuid5(living.uid, "old"), buried=True, conditions={})
        if owner == "buried"
        else living
    )


def read(path: str, schedules: dict[str, dict[str, Any]], more: str = "") -> FileReading:
    lines = [
        f"  {name}: {{task: t, {', '.join(f'{key}: {value}' for key, value in keys.items())}}}\n"
        for name, keys in schedules.items()
    ]
    return read_file(f"schedules:\n{''.join(lines)}{more}".encode(), path, "UTC")


def applied(table: Iterable[Living], plan: Plan) -> list[Living]:
    """The table after a pass, by the letter of the plan."""
    rows = {each.uid: each for each in table}

    def put(uid: UUID, new: Declared, conditions: Mapping[str, str] | None = None) -> None:
        name, columns = new.spec.name, new.spec.columns()
        old = rows.get(uid)
        made = Living(uid, name, 1, "file", "root", new.path, new.line, columns)
        version = old.version + 1 if old else 1
        rows[uid] = replace(made, version=version, conditions=old.conditions if old else conditions or {})

    for change in (*plan.updates, *plan.renames):
        put(change.row.uid, change.declared)
    for move in plan.moves:
        rows[move.row.uid] = replace(rows[move.row.uid], path=move.declared.path, line=move.declared.line)
    for created in plan.creates:
        put(uuid5(uid_of(created.declared.spec.name), "new"), created.declared, created.conditions)
    for gone in plan.deletes:
        rows[gone.row.uid] = replace(gone.row, buried=True, conditions={})
    for mark in plan.marks:
        conditions = {kind: said for kind, said in rows[mark.row.uid].conditions.items() if kind != mark.kind}
        said = {mark.kind: mark.message} if mark.message is not None else {}
        rows[mark.row.uid] = replace(rows[mark.row.uid], conditions=conditions | said)
    return list(rows.values())


def readings(tree: dict[str, Any]) -> list[FileReading]:
    return [read(path, *content) for path, content in tree.items()]


@given(tree=files, table=tables, guard=guards)
@example({"x.yaml": ({"a": {"interval": 1}, "b": {"interval": 1, "replaces": "a"}}, "")}, [], PruneGuard())
@example(
    {"x.yaml": ({"a": {"interval": 1, "replaces": "b"}, "b": {"interval": 1, "replaces": "c"}}, "")},
    [row("c", 1, "file", "x.yaml", 0, {})],
    PruneGuard(),
)
def test_after_a_pass_there_is_nothing_more_to_do(tree: Any, table: list[Living], guard: PruneGuard) -> None:
    found = readings(tree)
    after = applied(table, compare(found, table, guard=guard))
    again = compare(found, after, guard=guard)
    assert not again.writes, again
    names = [each.name for each in after if not each.buried]
    assert len(names) == len(set(names))


@given(tree=files, table=tables, guard=guards, random=st.randoms())
def test_the_order_in_which_files_and_rows_come_means_nothing(
    tree: Any, table: list[Living], guard: PruneGuard, random: Random
) -> None:
    found = readings(tree)
    plan = compare(found, table, guard=guard)
    shuffled = compare(random.sample(found, len(found)), random.sample(table, len(table)), guard=guard)
    assert _unordered(shuffled) == _unordered(plan)
    assert shuffled.digest == plan.digest


def _unordered(plan: Plan) -> dict[str, set[str]]:
    kinds = ("creates", "updates", "moves", "renames", "deletes", "held", "marks", "conflicts")
    return {kind: {repr(each) for each in getattr(plan, kind)} for kind in kinds}


@given(tree=files, table=tables, guard=guards)
def test_each_row_meets_one_fate_and_only_what_files_own_any(
    tree: Any, table: list[Living], guard: PruneGuard
) -> None:
    plan = compare(readings(tree), table, guard=guard)
    fates = [each.row.uid for each in (*plan.updates, *plan.moves, *plan.renames, *plan.deletes, *plan.held)]
    assert len(fates) == len(set(fates))
    api = {each.uid for each in table if each.owner == "api"}
    assert api.isdisjoint(fates)
    taken = {each.name for each in table if not each.buried}
    assert taken.isdisjoint(new.declared.spec.name for new in (*plan.creates, *plan.renames))


@given(tree=files, table=tables, guard=guards)
def test_an_approval_leaves_nothing_held_and_touches_nothing_else(
    tree: Any, table: list[Living], guard: PruneGuard
) -> None:
    found = readings(tree)
    plan = compare(found, table, guard=guard)
    if not plan.held:
        return
    done = approved(plan, Approval(plan.digest, "ann"))
    assert {gone.row.uid for gone in done.deletes} == {gone.row.uid for gone in (*plan.deletes, *plan.held)}
    assert (done.creates, done.updates, done.moves, done.renames) == (plan.creates, plan.updates, plan.moves, plan.renames)  # fmt: skip
    assert not compare(found, applied(table, done), guard=guard).held
