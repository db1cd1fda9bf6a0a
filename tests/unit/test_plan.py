"""A plan is a value: what it holds follows from the files and the table alone."""

import pytest

from taskd.reconcile import fires
from taskd.reconcile.guards import Root
from taskd.reconcile.plan import compare
from taskd.reconcile.render import as_json, lines
from taskd.source.yamlfile import read_file
from tests.unit.tables import EVERY_HOUR, EVERY_MINUTE, NOW, file, living

BLIND = Root("schedules", 0, 0, "schedules: No such file or directory")


def test_the_same_files_and_table_need_nothing() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE), file("b.yaml", two="task: t, interval: 30s")]
    plan = compare(files, living(files))
    assert not plan.writes
    assert plan.unchanged == 2


def test_new_changed_and_gone_names() -> None:
    before = [file("a.yaml", kept=EVERY_MINUTE, changed=EVERY_MINUTE, gone=EVERY_MINUTE)]
    plan = compare([file("a.yaml", kept=EVERY_MINUTE, changed=EVERY_HOUR, new=EVERY_MINUTE)], living(before))
    assert [new.declared.spec.name for new in plan.creates] == ["new"]
    assert [(change.row.name, change.after["crontab"]) for change in plan.updates] == [
        ("changed", "0 * * * *")
    ]
    assert [gone.row.name for gone in plan.deletes] == ["gone"]
    assert plan.changes == 3


def test_a_broken_file_keeps_what_it_last_declared() -> None:
    good = [file("a.yaml", one=EVERY_MINUTE), file("b.yaml", two=EVERY_MINUTE)]
    broken = [read_file(b"schedules: {one: [", "a.yaml", "UTC"), file("b.yaml", two=EVERY_HOUR)]
    plan = compare(broken, living(good))
    assert not plan.deletes
    assert [change.row.name for change in plan.updates] == ["two"]
    assert [(mark.row.name, (mark.message or "")[:7]) for mark in plan.marks] == [("one", "a.yaml:")]


def test_a_mended_file_clears_the_mark() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE)]
    plan = compare(files, living(files, one={"conditions": {"Stale": "a.yaml:1:1: broken"}}))
    assert [mark.message for mark in plan.marks] == [None]


def test_the_incumbent_keeps_a_name_that_two_files_claim() -> None:
    incumbent = [file("b.yaml", one=EVERY_MINUTE)]
    plan = compare([file("a.yaml", one=EVERY_HOUR), *incumbent], living(incumbent))
    assert not plan.updates
    assert [str(conflict) for conflict in plan.conflicts] == [
        "a.yaml:2:3: one: this name is declared in b.yaml:2 already: rename one of them"
    ]


def test_a_broken_incumbent_keeps_its_name_too() -> None:
    table = living([file("b.yaml", one=EVERY_MINUTE)])
    plan = compare([file("a.yaml", one=EVERY_HOUR), read_file(b"schedules: [", "b.yaml", "UTC")], table)
    assert not plan.updates
    assert len(plan.conflicts) == 1


def test_a_name_that_belongs_to_the_api_is_not_taken() -> None:
    files = [file("a.yaml", one=EVERY_HOUR)]
    table = living([file("b.yaml", one=EVERY_MINUTE)], one={"owner": "api", "path": None, "line": None})
    plan = compare(files, table)
    assert plan.changes == 0
    assert "belongs to the API: `taskd adopt one` hands it to this file" in str(plan.conflicts[0])
    assert [(mark.kind, mark.message) for mark in plan.marks] == [
        ("Conflict", "a.yaml:2 declares this name too: `taskd adopt one` hands it to the file")
    ]


def test_an_adopted_schedule_becomes_the_file_s() -> None:
    files = [file("a.yaml", one=EVERY_HOUR)]
    table = living(
        [file("b.yaml", one=EVERY_MINUTE)],
        one={"owner": "api", "path": None, "line": None, "conditions": {"Conflict": "a.yaml:2 …"}},
    )
    [update] = (plan := compare(files, table, adopted={"one": "cli:ann"})).updates
    assert (update.adopted_by, update.before["owner"], update.after["owner"]) == ("cli:ann", "api", "file")
    assert update.after["crontab"] == "0 * * * *"
    assert [mark.message for mark in plan.marks] == [None]
    assert not plan.conflicts


def test_what_no_file_declares_cannot_be_adopted() -> None:
    table = living([file("b.yaml", one=EVERY_MINUTE)], one={"owner": "api", "path": None, "line": None})
    assert not compare([], table, adopted={"one": "cli:ann"}).writes


def test_a_schedule_that_moves_to_another_file_is_neither_deleted_nor_changed() -> None:
    plan = compare([file("b.yaml", one=EVERY_MINUTE)], living([file("a.yaml", one=EVERY_MINUTE)]))
    assert plan.changes == 0
    assert [move.declared.path for move in plan.moves] == ["b.yaml"]


def test_nothing_is_deleted_while_a_root_cannot_be_read() -> None:
    plan = compare([], living([file("a.yaml", one=EVERY_MINUTE)]), roots=[BLIND])
    assert not plan.deletes
    assert [held.row.name for held in plan.held] == ["one"]


def test_a_table_that_was_changed_behind_our_back_is_drift() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE)]
    columns = files[0].schedules[0].spec.columns()
    plan = compare(files, living(files, one={"columns": columns | {"task": "other"}}))
    assert [(change.drift, change.before, change.after) for change in plan.updates] == [
        (True, {"task": "other"}, {"task": "t"})
    ]


def test_the_digest_stands_for_the_held_deletions_alone() -> None:
    table = living([file("a.yaml", one=EVERY_MINUTE)])
    held = compare([], table, roots=[BLIND])
    assert held.digest == compare([file("b.yaml", two=EVERY_MINUTE)], table, roots=[BLIND]).digest
    assert held.digest != compare([], [], roots=[BLIND]).digest


def test_a_plan_never_shows_secrets() -> None:
    before = [file("a.yaml", one=EVERY_MINUTE + ", kwargs: {db_password: old-one}")]
    plan = compare([file("a.yaml", one=EVERY_MINUTE + ", kwargs: {db_password: new-one}")], living(before))
    shown = str(list(lines(plan, {"password"}))) + str(as_json(plan, {"password"}, NOW))
    assert "kwargs" in shown
    assert "old-one" not in shown
    assert "new-one" not in shown


def test_what_changes_is_told_by_the_keys_of_files() -> None:
    before = [file("a.yaml", one=EVERY_MINUTE + ", queue: slow, catchup: all")]
    plan = compare([file("a.yaml", one=EVERY_MINUTE + ", priority: 3, catchup: all")], living(before))
    update = as_json(plan, (), NOW)["updates"][0]
    assert update["before"] == {"queue": "slow", "priority": None}
    assert update["after"] == {"queue": None, "priority": 3}
    assert (update["owner"], update["path"], update["line"]) == ("file", "a.yaml", 2)
    assert update["fires"] is None


def test_what_is_new_is_told_without_its_defaults() -> None:
    plan = compare([file("a.yaml", one="task: t, interval: 30s, enabled: true, labels: {team: x}")], ())
    assert as_json(plan, (), NOW)["creates"][0]["after"] == {
        "task": "t",
        "timezone": "UTC",
        "interval_seconds": 30,
        "labels": {"team": "x"},
    }


def test_a_move_within_its_file_is_not_worth_telling() -> None:
    table = living([file("a.yaml", one=EVERY_MINUTE, two=EVERY_MINUTE)])
    plan = compare([file("a.yaml", two=EVERY_MINUTE), file("b.yaml", one=EVERY_MINUTE)], table)
    assert [(move["name"], move["from"], move["path"]) for move in as_json(plan, (), NOW)["moves"]] == [
        ("one", "a.yaml:2", "b.yaml")
    ]


def test_of_ten_thousand_new_schedules_a_few_are_looked_at_in_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    table = living([file("a.yaml", gone=EVERY_HOUR)])
    plan = compare([file("a.yaml", **{f"s{n}": "task: t, interval: 1" for n in range(10_000)})], table)
    calls = []
    monkeypatch.setattr(fires, "marks_between", lambda *asked: calls.append(asked) or 1)
    shown = as_json(plan, (), NOW)
    assert len(calls) == fires.MOST
    assert shown["fires"]["left_out"] == 10_001 - fires.MOST
    assert "fires" in shown["deletes"][0]
    assert sum("fires" in each for each in shown["creates"]) == fires.MOST - 1
