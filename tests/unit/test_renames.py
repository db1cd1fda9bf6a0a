"""`replaces`: a new name for a schedule that keeps its identity; what can't be a rename touches neither name."""

import pytest

from taskd.reconcile.plan import compare
from taskd.reconcile.render import as_json, lines
from taskd.source.yamlfile import FileReading, read_file
from tests.unit.tables import EVERY_HOUR, EVERY_MINUTE, NOW, file, living

NEW = f"{EVERY_MINUTE}, replaces: old"


def told(files: list[FileReading], **table: object) -> list[str]:
    """The conflicts that a plan has."""
    return [str(conflict) for conflict in compare(files, **table).conflicts]  # type: ignore[arg-type]


def test_a_rename_is_no_deletion_and_no_creation() -> None:
    plan = compare(
        [file("b.yaml", new=f"{EVERY_HOUR}, replaces: old")], living([file("a.yaml", old=EVERY_MINUTE)])
    )
    [rename] = plan.renames
    assert (plan.changes, plan.creates, plan.deletes, plan.held) == (1, (), (), ())
    assert (rename.before["name"], rename.after["name"]) == ("old", "new")
    assert rename.after["crontab"] == "0 * * * *"
    assert [line.detail for line in lines(plan, ())] == ["to new, crontab: '* * * * *' → '0 * * * *'"]
    [shown] = as_json(plan, (), NOW)["renames"]
    assert (shown["name"], shown["to"], shown["path"], shown["line"]) == ("old", "new", "b.yaml", 2)


def test_once_done_the_key_says_nothing_more() -> None:
    files = [file("a.yaml", new=NEW)]
    assert not compare(files, living(files)).writes
    plain = [file("a.yaml", new=EVERY_MINUTE)]
    assert not compare(plain, living(files)).writes


def test_many_renames_need_no_approval() -> None:
    before = [file("a.yaml", **{f"old{n}": EVERY_MINUTE for n in range(50)})]
    after = [file("a.yaml", **{f"new{n}": f"{EVERY_MINUTE}, replaces: old{n}" for n in range(50)})]
    plan = compare(after, living(before))
    assert (len(plan.renames), plan.changes) == (50, 50)


def test_a_deleted_schedule_comes_back_under_its_new_name() -> None:
    table = living([file("a.yaml", old=EVERY_MINUTE)], old={"buried": True})
    plan = compare([file("a.yaml", new=NEW)], table)
    assert [rename.row.name for rename in plan.renames] == ["old"]
    assert not plan.creates


def test_where_there_is_nothing_to_replace_a_schedule_begins_anew_with_a_warning() -> None:
    files = [file("a.yaml", new=NEW)]
    plan = compare(files, living([file("b.yaml", other=EVERY_MINUTE)]))
    assert [new.declared.spec.name for new in plan.creates] == ["new"]
    assert [(problem.severity, problem.message) for problem in plan.problems] == [
        ("warning", "replaces: there is no 'old', nor was there lately: 'new' begins anew")
    ]
    assert compare(files, ()).problems == ()


def test_a_name_that_is_still_declared_cannot_be_replaced() -> None:
    files = [file("a.yaml", old=EVERY_MINUTE), file("b.yaml", new=NEW)]
    message = "b.yaml:2:3: new: replaces: 'old' is declared in a.yaml:2 still: take it away there, or `replaces` here"
    assert told(files, table=()) == [message]
    plan = compare(files, living(files[:1]))
    assert plan.changes == 0
    assert [(mark.row.name, mark.kind) for mark in plan.marks] == [("old", "Conflict")]


def test_two_cannot_replace_the_same() -> None:
    files = [file("a.yaml", new=NEW), file("b.yaml", newer=NEW)]
    for table in ((), living([file("c.yaml", old=EVERY_MINUTE)])):
        plan = compare(files, table)
        assert plan.changes == 0
        assert [str(conflict) for conflict in plan.conflicts] == [
            "a.yaml:2:3: new: replaces: 'newer' in b.yaml:2 replaces 'old' too: only one can",
            "b.yaml:2:3: newer: replaces: 'new' in a.yaml:2 replaces 'old' too: only one can",
        ]


def test_the_one_that_has_replaced_it_stays_when_another_wants_to() -> None:
    done = [file("a.yaml", new=NEW)]
    plan = compare([*done, file("b.yaml", newer=NEW)], living(done))
    assert [conflict.schedule for conflict in plan.conflicts] == ["newer"]
    assert plan.changes == 0


@pytest.mark.parametrize("living_now", [[], ["a"], ["b"], ["a", "b"]])
def test_two_names_cannot_be_swapped(living_now: list[str]) -> None:
    before = [file("x.yaml", **dict.fromkeys(living_now, EVERY_MINUTE))]
    files = [file("x.yaml", a=f"{EVERY_HOUR}, replaces: b", b=f"{EVERY_HOUR}, replaces: a")]
    plan = compare(files, living(before))
    assert plan.changes == 0
    assert [conflict.schedule for conflict in plan.conflicts] == ["a", "b"]


def test_of_a_chain_the_first_step_goes() -> None:
    files = [file("x.yaml", b=f"{EVERY_MINUTE}, replaces: a", c=f"{EVERY_MINUTE}, replaces: b")]
    plan = compare(files, living([file("x.yaml", a=EVERY_MINUTE)]))
    assert [(rename.row.name, rename.declared.spec.name) for rename in plan.renames] == [("a", "b")]
    assert [conflict.schedule for conflict in plan.conflicts] == ["c"]


def test_a_name_with_a_history_of_its_own_takes_over_no_other() -> None:
    table = living([file("a.yaml", old=EVERY_MINUTE, new=EVERY_MINUTE)])
    plan = compare([file("a.yaml", new=f"{EVERY_HOUR}, replaces: old")], table)
    assert plan.changes == 0
    assert "has a history of its own" in str(plan.conflicts[0])


def test_a_schedule_of_the_api_is_not_replaced_by_a_file() -> None:
    api = {"owner": "api", "path": None, "line": None}
    table = living([file("b.yaml", old=EVERY_MINUTE)], old=api)
    plan = compare([file("a.yaml", new=NEW)], table)
    assert plan.changes == 0
    assert "'old' belongs to the API" in str(plan.conflicts[0])
    assert [(mark.row.name, mark.kind) for mark in plan.marks] == [("old", "Conflict")]


def test_what_a_broken_file_may_still_declare_is_not_replaced_yet() -> None:
    broken = read_file(b"schedules: [", "a.yaml", "UTC")
    plan = compare([broken, file("b.yaml", new=NEW)], living([file("a.yaml", old=EVERY_MINUTE)]))
    assert plan.changes == 0
    assert "has errors now" in str(plan.conflicts[0])


def test_a_schedule_cannot_replace_itself() -> None:
    [problem] = file("a.yaml", old=NEW).problems
    assert "replaces: is the schedule's own name: take it out" in str(problem)


def test_a_rename_cannot_be_a_default() -> None:
    [problem] = read_file(b"defaults: {replaces: old}\nschedules: {}", "a.yaml", "UTC").problems
    assert "replaces: can't be a default" in str(problem)
