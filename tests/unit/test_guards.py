"""Deletions that may be a mistake wait for a person; everything else of the pass applies."""

import pytest

from taskd.config.models import PruneGuard
from taskd.errors import NotAllowed
from taskd.reconcile.guards import Root, reason_to_hold
from taskd.reconcile.plan import Approval, Plan, approved, compare
from taskd.reconcile.render import as_json
from taskd.source.yamlfile import FileReading, read_file
from tests.unit.tables import EVERY_HOUR, EVERY_MINUTE, NOW, file, living

TEN = {f"s{n}": EVERY_MINUTE for n in range(10)}


def some(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, EVERY_MINUTE)


def names(plan: Plan) -> tuple[list[str], list[str]]:
    """What a plan deletes, and what it holds."""
    return [gone.row.name for gone in plan.deletes], [gone.row.name for gone in plan.held]


@pytest.mark.parametrize(
    ("gone", "owned", "held"),
    [(3, 3, False), (4, 4, True), (3, 18, False), (4, 18, True), (4, 20, False), (5, 20, True), (20, 100, False), (21, 100, True)],
)  # fmt: skip
def test_more_than_three_and_more_than_a_fifth_are_held(gone: int, owned: int, held: bool) -> None:
    roots = [Root("schedules", 1, owned)]
    assert bool(reason_to_hold(roots, ["schedules"] * gone, owned, PruneGuard())) is held


@pytest.mark.parametrize(
    ("guard", "gone", "held"),
    [
        (PruneGuard(min=0, percent=0), 1, True),
        (PruneGuard(min=0, percent=100), 10, False),
        (PruneGuard(min=5, percent=0), 5, False),
        (PruneGuard(min=5, percent=0), 6, True),
    ],
)
def test_the_settings_say_how_many_may_go(guard: PruneGuard, gone: int, held: bool) -> None:
    assert bool(reason_to_hold([Root("schedules", 1, 1)], ["schedules"] * gone, 10, guard)) is held


@pytest.mark.parametrize(
    ("roots", "why"),
    [
        ([Root("a", 0, 0, "a: No such file or directory")], "a: No such file or directory"),
        ([Root("a", 3, 9), Root("b", 1, 1, "b/c: Permission denied")], "b/c: Permission denied"),
        ([Root("a", 0, 0)], "no schedule file was found in a"),
        ([Root("a", 2, 0)], "no schedule was found in a"),
        ([Root("a", 0, 0), Root("b", 1, 1)], "no schedule file was found in a"),
        ([Root("b", 0, 0), Root("a", 1, 1)], None),
    ],
    ids=["missing", "partly", "empty", "no schedules", "empty beside another", "another's emptiness"],
)
def test_an_outage_of_the_files_deletes_nothing(roots: list[Root], why: str | None) -> None:
    assert reason_to_hold(roots, ["a"], 100, PruneGuard()) == why
    assert reason_to_hold(roots, [], 100, PruneGuard()) is None


def test_held_deletions_hold_up_nothing_else() -> None:
    before = [file("a.yaml", **TEN)]
    plan = compare([file("a.yaml", new=EVERY_MINUTE, s0=EVERY_HOUR)], living(before))
    assert names(plan) == ([], [f"s{n}" for n in range(1, 10)])
    assert [new.declared.spec.name for new in plan.creates] == ["new"]
    assert [change.row.name for change in plan.updates] == ["s0"]
    assert plan.changes == 2


def test_what_is_held_carries_the_command_that_approves_it() -> None:
    plan = compare([file("a.yaml", s0=EVERY_MINUTE)], living([file("a.yaml", **TEN)]))
    command = f"taskd sync --approve {plan.digest}"
    assert {mark.kind for mark in plan.marks} == {"DeletionHeld"}
    assert all((mark.message or "").endswith(command) for mark in plan.marks)
    assert plan.holding is not None
    assert plan.holding.startswith(
        "9 deletions held (more than 3 schedules and 20 % of them would go at once): s1, s2"
    )
    assert plan.holding.endswith(command)
    told = as_json(plan, (), NOW)
    assert (told["digest"], len(told["held"]), told["holding"]) == (plan.digest, 9, plan.holding)


def test_an_approval_lets_exactly_what_was_seen_go() -> None:
    table = living([file("a.yaml", **TEN)])
    files = [file("a.yaml", s0=EVERY_MINUTE)]
    plan = compare(files, table)
    done = approved(plan, Approval(plan.digest, "cli:ann"))
    assert names(done) == ([f"s{n}" for n in range(1, 10)], [])
    assert {gone.approval for gone in done.deletes} == {Approval(plan.digest, "cli:ann")}
    assert not done.marks
    less = compare([file("a.yaml", s0=EVERY_MINUTE, s1=EVERY_MINUTE)], table)
    with pytest.raises(NotAllowed, match=rf"now there are 8 deletions held .* --approve {less.digest}"):
        approved(less, Approval(plan.digest, "cli:ann"))
    with pytest.raises(NotAllowed, match="nothing is held now"):
        approved(compare([file("a.yaml", **TEN)], table), Approval(plan.digest, "cli:ann"))


def test_an_approval_goes_stale_with_what_it_saw_and_with_nothing_else() -> None:
    before = [file("a.yaml", **TEN)]
    table = living(before)
    files = [file("a.yaml", s0=EVERY_MINUTE)]
    digest = compare(files, table).digest
    assert compare(files, table[::-1]).digest == digest
    assert compare([*files, file("b.yaml", new=EVERY_HOUR)], table).digest == digest
    operated = [
        row if row.name != "s5" else living(before, s5={"uid": row.uid, "version": 2})[5] for row in table
    ]
    assert compare(files, operated).digest != digest


def test_a_held_schedule_that_returns_is_let_go() -> None:
    held = {"conditions": {"DeletionHeld": "…"}}
    plan = compare([file("a.yaml", one=EVERY_MINUTE)], living([file("a.yaml", one=EVERY_MINUTE)], one=held))
    assert [(mark.kind, mark.message) for mark in plan.marks] == [("DeletionHeld", None)]


def broken(path: str, *names: str) -> FileReading:
    """A file that has errors in it, and still shows which names it declares."""
    return read_file(
        f"schedules: {{{', '.join(f'{name}: {{task: t}}' for name in names)}}}\nnonsense: 1".encode(),
        path,
        "UTC",
    )


def test_a_name_that_only_a_broken_file_leaves_out_is_held_by_itself() -> None:
    table = living([file("a.yaml", **some("one", "two")), file("b.yaml", **some("three", "four"))])
    plan = compare([broken("a.yaml", "one"), file("b.yaml", three=EVERY_MINUTE)], table)
    assert names(plan) == (["four"], ["two"])
    assert {mark.row.name: mark.kind for mark in plan.marks} == {"one": "Stale", "two": "DeletionHeld"}
    assert "its file has errors: a.yaml" in (plan.holding or "")


def test_a_file_that_cannot_be_read_leaves_out_nothing_for_certain() -> None:
    table = living([file("a.yaml", **some("one", "two"))])
    for text in (
        b"schedules: {one: [",
        b"scheduels: {}",
        b"schedules: {one: {}, one: {}}",
        b"schedules: {1: {}}",
    ):
        plan = compare([read_file(text, "a.yaml", "UTC")], table)
        assert names(plan) == ([], [])
        assert {mark.kind for mark in plan.marks} == {"Stale"}


def test_a_schedule_may_move_out_of_a_file_that_broke_with_it() -> None:
    table = living([file("a.yaml", **some("one", "two"))])
    plan = compare([broken("a.yaml", "two"), file("b.yaml", one=EVERY_HOUR)], table)
    assert [change.row.name for change in plan.updates] == ["one"]
    assert not plan.conflicts
